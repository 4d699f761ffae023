import { createViewer } from "./viewer/index.js";
console.debug(createViewer);
