"""What commands do with runs that exist: find and show them, fetch and publish students and rows."""
