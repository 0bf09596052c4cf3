-- Large parts from before the index are seldom merged again, and hold the most.
ALTER TABLE bars $on_cluster MATERIALIZE INDEX computed_range
