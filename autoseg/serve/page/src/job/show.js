/** The images of a finished job, as the viewer takes them. */
export function imagesOf(job, model, headers) {
  return job.result.images.map((name) => ({
    name, modality: model?.channels.find((channel) => channel.name === name)?.modality ?? "", headers,
    url: new URL(`v1/jobs/${job.id}/images/${encodeURIComponent(name)}`, document.baseURI).href,
  }));
}

/** The masks of a finished job, as the viewer takes them. */
export async function masksOf(api, job, title) {
  const layer = async (form) => (job.result.files.includes(form)
    ? { blob: await api.blob(`v1/jobs/${job.id}/result/${form}`) } : undefined);
  const [label, entropy, disagreement] = await Promise.all(["nifti", "entropy", "disagreement"].map(layer));
  const labels = job.result.labels.map(({ name, values, color }) => ({ name, values, color }));
  return { label, labels, entropy, disagreement, title };
}
