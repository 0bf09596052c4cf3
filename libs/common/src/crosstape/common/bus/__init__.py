"""The road between services: topics, the wire codec, and Kafka's producer and consumer as the platform uses them."""
