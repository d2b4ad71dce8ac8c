import { Errno, type Failure } from '../../errno.js';
import { OpenFlag, type Created } from './file-system.js';

/** Rounds of "it is not there" and "it is there" before create gives up on a name that others make and remove. */
const ATTEMPTS = 8;

/** Creates a regular file and opens it; opens what is there, with the flags that are left, where O_EXCL does not forbid it. */
export async function createOrOpen(
  flags: number,
  createNew: () => Promise<Created | Failure>,
  openExisting: (flags: number) => Promise<Created | Failure>,
): Promise<Created | Failure> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const created = await createNew();
    if (created !== -Errno.EEXIST || (flags & OpenFlag.O_EXCL) !== 0) return created;
    const existing = await openExisting(flags & ~(OpenFlag.O_CREAT | OpenFlag.O_EXCL));
    if (existing !== -Errno.ENOENT && existing !== -Errno.ESTALE) return existing;
  }
  return -Errno.ESTALE;
}
