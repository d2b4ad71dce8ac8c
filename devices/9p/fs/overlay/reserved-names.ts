/**
 * Names that an overlay keeps for itself in both of its layers: guests neither see nor make them, so that what is hidden and what
 * was moved is the overlay's word alone (the class of CVE-2017-7493).
 */
import type { ByteString } from '../file-system.js';

const RESERVED_PREFIX = '.chassis-overlay';

/** In each directory of the upper layer that needs it: its marks. */
export const MARKS_DIRECTORY: ByteString = RESERVED_PREFIX;
/** In a directory's marks: where its lower layer is, if that is not where its name leads. */
export const OWN_ORIGIN: ByteString = `${RESERVED_PREFIX}.origin`;
/** In a directory's marks: what is about to take the place of which mark. */
export const NEW_MARK: ByteString = `${RESERVED_PREFIX}.new`;
/** In the marks of the upper root: what is not in its place yet, or not wanted any more. Emptied at the start. */
export const WORK_DIRECTORY: ByteString = `${RESERVED_PREFIX}.work`;
/** In the marks of the upper root: directories of the lower layer that a commit is about to stage, each with where it was. */
export const JOURNAL_DIRECTORY: ByteString = `${RESERVED_PREFIX}.journal`;
/** In the lower root while a commit is under way: what is on its way to another place. */
export const STAGE_DIRECTORY: ByteString = `${RESERVED_PREFIX}.commit`;

export function isReserved(name: ByteString): boolean {
  return name.startsWith(RESERVED_PREFIX);
}
