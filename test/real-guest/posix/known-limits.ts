/** What no 9p server can give to programs of a Linux guest, because Linux's client does not ask for it. */
export interface KnownLimit {
  /** As docs/posix.md calls it, which tells where in Linux's source it is to be seen. */
  readonly id: string;
  /** All cases that fail for it. */
  readonly cases: readonly string[];
}

const NOT_SYMLINKS = ['regular', 'directory', 'fifo', 'socket', 'char', 'block'];

export const KNOWN_LIMITS: readonly KnownLimit[] = [
  {
    id: 'whole seconds',
    cases: [
      ...NOT_SYMLINKS.map((kind) => `times: of a ${kind} are set to the nanosecond`),
      ...[...NOT_SYMLINKS, 'symlink'].map((kind) => `times: of a ${kind} itself, links not followed`),
      'times: the last nanosecond of a second',
      'times: past 2038',
      'times: past 2106',
      'times: before 1970',
      'times: UTIME_OMIT leaves one',
      'times: UTIME_NOW for one, a value for the other',
      'times: by an open descriptor',
      'times: of a file that was unlinked while it is open',
      'times: a value may be set by the owner, who may not write',
      'times: times that were set before close are those after it',
    ],
  },
  {
    id: 'fallocate',
    cases: [
      'data: fallocate beyond the end, with FALLOC_FL_KEEP_SIZE, leaves the size',
      'data: fallocate punches a hole',
      'data: fallocate zeroes a range',
    ],
  },
  { id: 'holes', cases: ['data: SEEK_DATA finds data behind a hole'] },
  {
    id: 'renameat2',
    cases: [
      'renameat2: RENAME_NOREPLACE onto nothing renames',
      'renameat2: RENAME_EXCHANGE exchanges two files',
    ],
  },
  { id: 'O_TMPFILE', cases: ['open: O_TMPFILE makes a file without a name, which can get one'] },
  { id: 'flags from 0x2000 on', cases: ['open: O_NOATIME is for the owner'] },
  { id: 'two names, two inodes', cases: ['devices: a FIFO under two names is one pipe'] },
  { id: 'removal of an attribute', cases: ['xattr: an empty value with XATTR_REPLACE'] },
];
