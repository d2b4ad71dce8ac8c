/** Saved chassis in files that operators name. */
import { isAbsolute } from 'node:path';
import { ChassisModel } from '../chassis/chassis.js';
import { ChassisError } from '../control/api.js';
import { fillModel } from '../journal-format.js';
import { readBounded, writePrivate } from './private-file.js';
import { decodeSaved, encodeSaved, SAVED_BYTES_MAX, type SavedChassis } from './saved-file.js';
import { decodeStates } from './states.js';

/** Answers how large the file is. @throws ChassisError BAD_REQUEST, SAVE_REFUSED or STATE_UNWRITABLE */
export function writeSaved(path: string, saved: SavedChassis): number {
  checkPath(path);
  const bytes = encodeSaved(saved);
  if (bytes.length > SAVED_BYTES_MAX)
    throw new ChassisError(
      'SAVE_REFUSED',
      `it has ${bytes.length} bytes, and ${SAVED_BYTES_MAX} are allowed`,
    );
  try {
    writePrivate(path, bytes);
    return bytes.length;
  } catch (error) {
    // The rest of the message is about a file beside, of which nobody knows.
    const reason = (error as Error).message.replace(/, \w+ '.*$/s, '');
    throw new ChassisError(
      'STATE_UNWRITABLE',
      `cannot write to ${path}: ${reason}`,
      "look whether its folder is there, and may be written to by the daemon's user",
    );
  }
}

/** @throws ChassisError BAD_REQUEST, SOURCE_MISSING or SAVED_STATE_INVALID */
export function readSaved(path: string): SavedChassis {
  checkPath(path);
  const saved = parseSaved(readNamed(path));
  if (typeof saved === 'string') throw invalid(path, saved);
  return saved;
}

/** Answers what is wrong with bytes that come from outside, as far as can be told without making a chassis. */
export function parseSaved(bytes: Uint8Array): SavedChassis | string {
  const saved = decodeSaved(bytes);
  return typeof saved === 'string' ? saved : (problemOf(saved) ?? saved);
}

/** The same under another name, if one is given. What has a state goes on over the port that it was saved on. */
export function renamed(saved: SavedChassis, name: string | undefined): SavedChassis {
  const { document } = saved;
  const devices = document.devices.map((device) => {
    const { use } = device;
    return saved.states && use ? { ...device, port: use.port } : device;
  });
  return { ...saved, document: { ...document, devices, chassis: name ?? document.chassis } };
}

function readNamed(path: string): Uint8Array {
  try {
    return readBounded(path, SAVED_BYTES_MAX);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      throw new ChassisError('SOURCE_MISSING', `there is no ${path}`, 'check the spelling');
    throw invalid(path, message);
  }
}

/** What no schema says. */
function problemOf({ document, states }: SavedChassis): string | undefined {
  const decoded = states && decodeStates(states);
  if (typeof decoded === 'string') return decoded;
  if (document.unplugging.length > 0 || document.changing.length > 0) return 'something was under way in it';
  try {
    fillModel(new ChassisModel(document.slots), document);
  } catch (error) {
    return (error as Error).message;
  }
  return undefined;
}

function invalid(path: string, problem: string): ChassisError {
  return new ChassisError(
    'SAVED_STATE_INVALID',
    `${path} is no saved chassis: ${problem}`,
    'give a file that chassis save of this version has made',
  );
}

function checkPath(path: string): void {
  if (!isAbsolute(path) || path.includes('\0'))
    throw new ChassisError('BAD_REQUEST', `${JSON.stringify(path)} is not an absolute path`);
}
