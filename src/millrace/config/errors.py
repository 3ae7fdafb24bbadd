"""What is wrong with a setting; apart from the settings themselves, of which a supervisor has none."""


class SettingError(Exception):
    """A setting's value is of no use; the message names the variable, the value and what would be right."""
