/** Whether a source can be shown to a guest, before anything is made for it. */
import { accessSync, constants, statSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { ChassisError, type Source } from './control/api.js';

/** @throws ChassisError BAD_REQUEST, SOURCE_MISSING, SOURCE_NOT_DIRECTORY or SOURCE_UNREADABLE */
export function checkSource(source: Source): void {
  if (source.type !== 'directory') return;
  const { path } = source;
  if (!isAbsolute(path) || path.includes('\0')) {
    throw new ChassisError(
      'BAD_REQUEST',
      `${JSON.stringify(path)} is not an absolute path`,
      'give the full path',
    );
  }
  try {
    if (!statSync(path).isDirectory()) {
      throw new ChassisError(
        'SOURCE_NOT_DIRECTORY',
        `${path} is not a directory`,
        'attach the directory that holds it',
      );
    }
    accessSync(path, constants.R_OK | constants.X_OK);
  } catch (error) {
    throw error instanceof ChassisError ? error : sourceError(path, error as NodeJS.ErrnoException);
  }
}

/** What an errno of opening a source means to the operator. */
export function sourceError(path: string, error: NodeJS.ErrnoException): ChassisError {
  switch (error.code) {
    case 'ENOENT':
      return new ChassisError('SOURCE_MISSING', `there is no ${path}`, 'create it, or check the spelling');
    case 'ENOTDIR':
      return new ChassisError(
        'SOURCE_NOT_DIRECTORY',
        `${path} is not a directory`,
        'attach the directory that holds it',
      );
    default:
      return new ChassisError(
        'SOURCE_UNREADABLE',
        `cannot read ${path}: ${error.message}`,
        'let the user of the daemon read and enter it',
      );
  }
}
