import { basename, parse, resolve } from 'node:path';
import { ChassisError, type DiskSource } from '../../manager/control/api.js';
import { parseSize, sizeText } from './size.js';

/** What a disk is to be kept in, as typed: `mem:SIZE`, `nbd:URI` (an NBD address alone will do), or else a file. */
export function parseDiskSource(argument: string): DiskSource {
  if (argument.startsWith('mem:')) {
    return { type: 'memory', sizeBytes: parseSize(argument.slice('mem:'.length)) };
  }
  if (/^nbds?(\+unix)?:/.test(argument)) return { type: 'nbd', uri: argument.replace(/^nbd:(?=nbd)/, '') };
  return { type: 'file', path: resolve(argument) };
}

export function diskSourceText(source: DiskSource): string {
  if (source.type === 'memory') return `mem:${sizeText(source.sizeBytes)}`;
  return source.type === 'file' ? source.path : source.uri;
}

/** A file's name without its extension, with dashes for what a disk's name cannot have. @throws ChassisError TAG_INVALID */
export function defaultDiskName(source: DiskSource): string {
  const name =
    source.type === 'file'
      ? parse(source.path)
          .name.replace(/[^A-Za-z0-9._-]/g, '-')
          .replace(/^[^A-Za-z0-9]+/, '')
          .slice(0, 64)
      : '';
  if (name !== '') return name;
  throw new ChassisError(
    'TAG_INVALID',
    `${source.type === 'file' ? basename(source.path) : diskSourceText(source)} has no name to use for the disk`,
    'give it one with --name',
  );
}
