/** The options of what a mount shows and lets through: one table for all commands that have them. */
import { resolve } from 'node:path';
import { Flags } from '@oclif/core';
import {
  ChassisError,
  MAX_FIDS,
  MAX_OPEN_FILES,
  type MountRequest,
  type OverlayRequest,
  type Owner,
  type Policy,
} from '../../manager/control/api.js';
import { parseOwner } from './owner.js';
import { parseBytes } from './size.js';

/** In place of a directory: a file system in memory. */
export const MEMORY = 'mem:';

const pattern = (description: string) =>
  Flags.string({ description, multiple: true, multipleNonGreedy: true, helpValue: 'PATTERN' });

export const POLICY_FLAGS = {
  'read-only': Flags.boolean({ char: 'r', description: 'Nothing can be changed (EROFS)' }),
  allow: pattern('Show only what matches, as src/**; may be repeated'),
  deny: pattern('Hide what matches, as **/.env; may be repeated, and is stronger than --allow'),
  'quota-bytes': Flags.string({
    description: 'How many bytes may be added to what was there, as 512M (ENOSPC)',
    helpValue: 'SIZE',
  }),
  'quota-files': Flags.integer({
    description: 'How many files and directories may be added to what was there (ENOSPC)',
    min: 0,
  }),
  'max-fids': Flags.integer({
    description: 'How many files may be known at a time (EMFILE); Linux keeps one for each name in its cache',
    min: 1,
    max: MAX_FIDS,
  }),
  'max-open-files': Flags.integer({
    description: 'How many files may be open at a time (EMFILE)',
    min: 0,
    max: MAX_OPEN_FILES,
  }),
};

export const MOUNT_FLAGS = {
  ...POLICY_FLAGS,
  overlay: Flags.boolean({
    description:
      'Leave DIR as it is, and keep changes apart from it, to be reviewed: chassis diff, commit, discard',
  }),
  upper: Flags.string({
    description: `Where an overlay's changes are kept: an empty folder, or "${MEMORY}" [default: a folder that the daemon keeps for the tag]`,
    dependsOn: ['overlay'],
    helpValue: 'FOLDER',
  }),
  owner: Flags.string({
    description:
      'Whose the files are: mapped (owners, modes and special files in extended attributes, for a daemon that is not root); ' +
      'squash:UID:GID[:HOST_UID:HOST_GID] (all are UID:GID there, and new ones HOST_UID:HOST_GID here); range:FROM:HOST:COUNT, ' +
      'or user-range: and group-range:, may be repeated [default: as they are here]',
    multiple: true,
    multipleNonGreedy: true,
    helpValue: 'OWNER',
  }),
};

export interface PolicyFlags {
  readonly 'read-only'?: boolean;
  readonly allow?: string[];
  readonly deny?: string[];
  readonly 'quota-bytes'?: string;
  readonly 'quota-files'?: number;
  readonly 'max-fids'?: number;
  readonly 'max-open-files'?: number;
}

export interface MountFlags extends PolicyFlags {
  readonly overlay?: boolean;
  readonly upper?: string;
  readonly owner?: string[];
}

/** Names of the options → what the API calls them. */
export const POLICY_SETTING_NAMES = {
  'read-only': 'readOnly',
  allow: 'allow',
  deny: 'deny',
  'quota-bytes': 'maxBytes',
  'quota-files': 'maxFiles',
  'max-fids': 'maxFids',
  'max-open-files': 'maxOpenFiles',
} as const;

/** What of a policy was said; undefined where nothing was. @throws ChassisError BAD_REQUEST */
export function policyOf(flags: PolicyFlags): Policy | undefined {
  const { allow, deny } = flags;
  const bytes = flags['quota-bytes'];
  const policy = {
    ...(allow && { allow }),
    ...(deny && { deny }),
    ...(bytes !== undefined && { maxBytes: parseBytes(bytes) }),
    ...(flags['quota-files'] !== undefined && { maxFiles: flags['quota-files'] }),
    ...(flags['max-fids'] !== undefined && { maxFids: flags['max-fids'] }),
    ...(flags['max-open-files'] !== undefined && { maxOpenFiles: flags['max-open-files'] }),
  };
  return Object.keys(policy).length > 0 ? policy : undefined;
}

/** @throws ChassisError BAD_REQUEST */
export function termsOf(flags: MountFlags): Omit<MountRequest, 'tag' | 'source' | 'target'> {
  const policy = policyOf(flags);
  const owner = ownerOf(flags.owner);
  return {
    readOnly: flags['read-only'] ?? false,
    ...(policy && { policy }),
    ...(owner && { owner }),
    ...(flags.overlay && { overlay: overlayOf(flags.upper) }),
  };
}

function overlayOf(upper: string | undefined): OverlayRequest {
  if (upper === undefined) return { type: 'kept' };
  return upper === MEMORY ? { type: 'memory' } : { type: 'directory', path: resolve(upper) };
}

function ownerOf(words: readonly string[] | undefined): Owner | undefined {
  try {
    return words && parseOwner(words);
  } catch (error) {
    throw error instanceof RangeError ? new ChassisError('BAD_REQUEST', error.message, OWNER_HELP) : error;
  }
}

const OWNER_HELP =
  'say --owner mapped, --owner squash:1000:1000, or --owner range:0:100000:65536 (see: chassis attach --help)';
