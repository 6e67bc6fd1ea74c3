"""Which sample comes when: shares of the tasks, shuffling, packing, and the cursor that resumes them."""
