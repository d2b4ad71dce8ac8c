import type { ByteString } from './file-system.js';

/** Told the path of what has changed, come or gone below a root: names joined by '/'; {@link EVERYTHING} where it is too much to tell. */
export type ChangeListener = (path: ByteString) => void;

/** Stands for all that is below the root: no file has this name. */
export const EVERYTHING: ByteString = '.';
