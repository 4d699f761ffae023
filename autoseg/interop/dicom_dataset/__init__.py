"""Raw datasets of DICOM studies: images by channel, labels of RTSTRUCT and SEG, a table of attributes, no identifier."""
