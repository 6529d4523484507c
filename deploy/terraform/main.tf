# The objects that `mailprobe generate kubernetes` prints, for who keeps a cluster in Terraform:
#
#   module "mailprobe" {
#     source    = "./deploy/terraform"
#     namespace = "monitoring"
#     manifests = file("mailprobe.yaml")
#   }

terraform {
  required_providers {
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = ">= 2.20"
    }
  }
}

variable "manifests" {
  description = "What `mailprobe generate kubernetes` printed"
  type        = string
}

variable "namespace" {
  description = "Where the objects go; the Secret `mailprobe` has to be there too"
  type        = string
}

variable "image" {
  description = "The image, by digest"
  type        = string
  default     = "mailprobe:latest"
}

locals {
  objects = {
    for text in split("\n---\n", replace(var.manifests, "\"mailprobe:latest\"", jsonencode(var.image))) :
    yamldecode(text).kind => yamldecode(text)
  }
}

resource "kubernetes_manifest" "mailprobe" {
  for_each = local.objects
  manifest = merge(each.value, {
    metadata = merge(each.value.metadata, { namespace = var.namespace })
  })
}
