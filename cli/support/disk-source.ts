import { basename, parse, resolve } from 'node:path';
import { ChassisError, type DiskSource } from '../../manager/control/api.js';
import { parseSize, sizeText } from './size.js';

/** What a disk is to be kept in, as typed: `mem:SIZE`, `nbd:URI` (an NBD address alone will do), or else a file, `from` that folder on. */
export function parseDiskSource(argument: string, from = process.cwd()): DiskSource {
  if (argument.startsWith('mem:')) {
    return { type: 'memory', sizeBytes: parseSize(argument.slice('mem:'.length)) };
  }
  if (/^nbds?(\+unix)?:/.test(argument)) return { type: 'nbd', uri: argument.replace(/^nbd:(?=nbd)/, '') };
  return { type: 'file', path: resolve(from, argument) };
}

export function diskSourceText(source: DiskSource): string {
  if (source.type === 'memory') return `mem:${sizeText(source.sizeBytes)}`;
  if (source.type === 'cloud-init') return `cloud-init:${source.path}`;
  return source.type === 'file' ? source.path : source.uri;
}

/** Of a command line that names a disk, or a file with user data for cloud-init, and not both. @throws ChassisError BAD_REQUEST */
export function diskSourceOf(argument: string | undefined, cloudInit: string | undefined): DiskSource {
  if (argument !== undefined && cloudInit === undefined) return parseDiskSource(argument);
  if (argument === undefined && cloudInit !== undefined) {
    return { type: 'cloud-init', path: resolve(cloudInit) };
  }
  throw new ChassisError(
    'BAD_REQUEST',
    'a disk is made of DISK, or with --cloud-init FILE',
    'give one of them',
  );
}

/** A file's name without its extension, with dashes for what a disk's name cannot have. @throws ChassisError TAG_INVALID */
export function defaultDiskName(source: DiskSource): string {
  const name =
    'path' in source
      ? parse(source.path)
          .name.replace(/[^A-Za-z0-9._-]/g, '-')
          .replace(/^[^A-Za-z0-9]+/, '')
          .slice(0, 64)
      : '';
  if (name !== '') return name;
  throw new ChassisError(
    'TAG_INVALID',
    `${'path' in source ? basename(source.path) : diskSourceText(source)} has no name to use for the disk`,
    'give it one with --name',
  );
}
