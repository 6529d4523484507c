# The objects that `mailprobe generate kubernetes --image REF` prints, for who keeps a cluster in Terraform:
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
  description = "What `mailprobe generate kubernetes --image REF` printed"
  type        = string
}

variable "namespace" {
  description = "Where the objects go; the Secret `mailprobe` has to be there too"
  type        = string
}

locals {
  objects = {
    for text in split("\n---\n", var.manifests) :
    yamldecode(text).kind => yamldecode(text)
  }
}

resource "kubernetes_manifest" "mailprobe" {
  for_each = local.objects
  manifest = merge(each.value, {
    metadata = merge(each.value.metadata, { namespace = var.namespace })
  })
}
