"""Registration of channels to the reference, by SimpleITK; nothing else of autoseg but its readers imports that."""

from autoseg.preprocessing.registration.case import register_case as register_case
from autoseg.preprocessing.registration.channel import register_channel as register_channel
from autoseg.preprocessing.registration.run import register_dataset as register_dataset
