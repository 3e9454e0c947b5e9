"""The doctor's checks of this machine and of XieHe."""
