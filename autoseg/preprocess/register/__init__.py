"""Registration of channels to the reference, by SimpleITK; nothing else of autoseg but its readers imports that."""

from autoseg.preprocess.register.case import register_case as register_case
from autoseg.preprocess.register.channel import register_channel as register_channel
from autoseg.preprocess.register.run import register_dataset as register_dataset
