"""What nnU-Net itself makes of a case. Runs in nnU-Net's interpreter, started by against_nnunet_preprocessing.py.

usage: python nnunet_worker.py JOBS.json, a list of jobs: {images, label, reader, plans, dataset, output[, logits]}
"""

import json
import sys
import time

import numpy as np
import torch
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

READERS = {"nifti": SimpleITKIO, "png": NaturalImage2DIO}


def run(job: dict) -> None:
    reader = READERS[job["reader"]]()
    image, properties = reader.read_images(job["images"])
    label, _ = reader.read_seg(job["label"])
    plans = PlansManager(job["plans"])
    configuration = plans.get_configuration("compared")
    begin = time.perf_counter()
    prepared, seg, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        image, label, properties, plans, configuration, job["dataset"])
    results = {"image": prepared, "label": seg[0], "box": np.array(properties["bbox_used_for_cropping"]),
               "seconds": time.perf_counter() - begin}
    if "logits" in job:
        with np.load(job["logits"]) as file:
            logits = file["logits"]
        results["restored"], results["probabilities"] = convert_predicted_logits_to_segmentation_with_correct_shape(
            torch.from_numpy(logits), plans, configuration, plans.get_label_manager(job["dataset"]), properties,
            return_probabilities=True)
    np.savez_compressed(job["output"], **results)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with open(sys.argv[1], encoding="utf-8") as jobs:
        for each in json.load(jobs):
            run(each)
