/** Whether a folder that was named for a guest's changes can be that. */
import { readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { MARKS_DIRECTORY } from '../devices/9p/fs/overlay/reserved-names.js';
import { ChassisError } from './control/api.js';
import { checkSource } from './source-check.js';

/** Says which directory's changes a folder has. No guest sees it: its name is an overlay's own. */
const SOURCE_NOTE = `${MARKS_DIRECTORY}.source`;

/**
 * Notes in the folder whose changes it has from now on.
 * @throws ChassisError as a source that cannot be read; BAD_REQUEST where it holds anything else, or is part of the source;
 * CHANGES_PENDING where it has another directory's changes
 */
export function claimUpper(path: string, source: string): void {
  checkSource({ type: 'directory', path });
  const [upper, lower] = [realpathSync(path), realpathSync(source)];
  if (isWithin(upper, lower) || isWithin(lower, upper)) {
    throw new ChassisError(
      'BAD_REQUEST',
      `${path} and ${source} are not apart: changes of a directory cannot be kept in itself`,
      'keep them in a folder outside of it, and not above it',
    );
  }
  const names = readdirSync(path).filter((name) => name !== SOURCE_NOTE);
  const isUsed = names.includes(MARKS_DIRECTORY);
  if (names.length > 0 && !isUsed) {
    throw new ChassisError(
      'BAD_REQUEST',
      `${path} is not empty, and holds no changes: what is in it would be taken for the guest's`,
      'name an empty folder',
    );
  }
  const note = readNote(join(path, SOURCE_NOTE));
  if (note !== undefined && note !== lower && isUsed) {
    throw new ChassisError(
      'CHANGES_PENDING',
      `${path} has changes of ${note}`,
      'name another folder, or commit or discard those first',
    );
  }
  if (note !== lower) writeNote(path, lower);
}

function isWithin(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way === '' || (way !== '..' && !way.startsWith('../'));
}

function readNote(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function writeNote(path: string, source: string): void {
  try {
    writeFileSync(join(path, SOURCE_NOTE), source);
  } catch (error) {
    throw new ChassisError(
      'SOURCE_UNREADABLE',
      `cannot write to ${path}: ${(error as Error).message}`,
      'let the user of the daemon write to it',
    );
  }
}
