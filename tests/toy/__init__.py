"""An exchange that nobody else knows: proof that one module and one table row add one to the platform."""
