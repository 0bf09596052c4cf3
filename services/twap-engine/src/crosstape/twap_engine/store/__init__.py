"""What is kept in SQL: orders, slices, fills, what was taken from books, replicas, and events not yet told."""
