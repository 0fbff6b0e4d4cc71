"""Networks: modules only, no loss, no file, no optimiser."""
