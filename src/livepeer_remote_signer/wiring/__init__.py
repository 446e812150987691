"""The parts of the composition root, one area each: from the configuration to the adapters that it asks for. For `app`."""
