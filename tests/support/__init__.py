"""What tests stand on: doubles of services, builders of data, servers, and harnesses of our own parts."""
