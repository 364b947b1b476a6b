"""The worker: takes messages, carries jobs, sweeps for what the bell missed."""
