/**
 * Filters of system calls (seccomp(2)) as programs for the kernel, by libseccomp (seccomp_init(3) and the pages beside it), which knows each
 * architecture's numbers and ways round them. Debian and most others have it installed: systemd is linked to it.
 */
import { closeSync, fstatSync, readSync } from 'node:fs';
import koffi, { type KoffiFunc } from 'koffi';
import { HostError } from './errors.js';
import { memoryFile } from './memory.js';
import { NativeBuffer } from './native-buffer.js';

const LIBRARY = 'libseccomp.so.2';

const SCMP_ACT_KILL_PROCESS = 0x8000_0000;
const SCMP_ACT_ERRNO = 0x0005_0000;
const SCMP_ACT_ALLOW = 0x7fff_0000;
/** What becomes of calls by another architecture's numbers: x32's, and those of 32 bits. */
const SCMP_FLTATR_ACT_BADARCH = 2;
/** How the filter finds a call: 2 is a binary tree, where a list would be walked. */
const SCMP_FLTATR_CTL_OPTIMIZE = 8;
const BINARY_TREE = 2;

/** enum scmp_compare */
const Compare = { SCMP_CMP_NE: 1, SCMP_CMP_MASKED_EQ: 7 } as const;
/** struct scmp_arg_cmp: arg[4] op[4] datum_a[8] datum_b[8]. */
const ARG_CMP = { arg: 0, op: 4, datumA: 8, datumB: 16, size: 24 } as const;

/** What an argument has to be for a rule to hold. Below 2^53. */
export type ArgumentIs =
  | { readonly argument: number; readonly not: number }
  | { readonly argument: number; readonly masked: number; readonly is: number };

export interface DeniedCall {
  /** As the manual has it, section 2. One that this architecture, or the library, does not know is left out. */
  readonly call: string;
  /** What it fails with: a positive errno. */
  readonly errno: number;
  /** Without: whatever the arguments are. */
  readonly where?: ArgumentIs;
}

type Arg = number | string | null;
type Native<A extends Arg[], R> = KoffiFunc<(...args: A) => R>;

interface Library {
  readonly seccomp_init: Native<[action: number], unknown>;
  readonly seccomp_release: KoffiFunc<(filter: unknown) => void>;
  readonly seccomp_attr_set: KoffiFunc<(filter: unknown, attribute: number, value: number) => number>;
  readonly seccomp_syscall_resolve_name: Native<[name: string], number>;
  readonly seccomp_rule_add_array: KoffiFunc<
    (filter: unknown, action: number, call: number, count: number, arguments_: number) => number
  >;
  readonly seccomp_export_bpf: KoffiFunc<(filter: unknown, fd: number) => number>;
}

/**
 * A filter that lets through all but what is denied, and kills whoever makes calls by another architecture's numbers.
 *
 * @returns an array of struct sock_filter, or undefined where there is no libseccomp
 * @throws HostError where the library refuses a rule, or an older one is there
 */
export function compileFilter(denied: readonly DeniedCall[]): Uint8Array | undefined {
  const library = load();
  if (library === undefined) return undefined;
  const filter = library.seccomp_init(SCMP_ACT_ALLOW);
  if (filter === null) throw new HostError('ENOMEM', 'seccomp_init', 'libseccomp makes no filter');
  try {
    const set = (attribute: number, value: number) =>
      check(library.seccomp_attr_set(filter, attribute, value), 'seccomp_attr_set', String(attribute));
    set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    set(SCMP_FLTATR_CTL_OPTIMIZE, BINARY_TREE);
    for (const rule of denied) deny(library, filter, rule);
    return exported(library, filter);
  } finally {
    library.seccomp_release(filter);
  }
}

function deny(library: Library, filter: unknown, { call, errno, where }: DeniedCall): void {
  const number = library.seccomp_syscall_resolve_name(call);
  // It does not know it, or this architecture has none.
  if (number < 0) return;
  const compared = where && compareOf(where);
  const count = compared ? 1 : 0;
  const error = library.seccomp_rule_add_array(
    ...([filter, SCMP_ACT_ERRNO | errno, number, count, compared?.address ?? 0] as const),
  );
  check(error, 'seccomp_rule_add_array', call);
}

function compareOf(where: ArgumentIs): NativeBuffer {
  const compared = new NativeBuffer(ARG_CMP.size);
  const masked = 'masked' in where;
  compared.view.setUint32(ARG_CMP.arg, where.argument, true);
  compared.view.setUint32(ARG_CMP.op, masked ? Compare.SCMP_CMP_MASKED_EQ : Compare.SCMP_CMP_NE, true);
  compared.setU64(ARG_CMP.datumA, masked ? where.masked : where.not);
  if (masked) compared.setU64(ARG_CMP.datumB, where.is);
  return compared;
}

function exported(library: Library, filter: unknown): Uint8Array {
  const fd = memoryFile('chassis-filter');
  try {
    check(library.seccomp_export_bpf(filter, fd), 'seccomp_export_bpf', LIBRARY);
    const program = new Uint8Array(fstatSync(fd).size);
    readSync(fd, program, 0, program.length, 0);
    return program;
  } finally {
    closeSync(fd);
  }
}

function check(negativeErrno: number, call: string, subject: string): void {
  if (negativeErrno < 0) throw HostError.from(negativeErrno, call, subject);
}

let loaded: Library | undefined;

/** Not before it is wanted: a process that is filtered needs no library to make filters. */
function load(): Library | undefined {
  if (loaded) return loaded;
  try {
    const library = koffi.load(LIBRARY);
    const declare = (name: string, returns: string, parameters: string[]) =>
      library.func(name, returns, parameters) as KoffiFunc<never>;
    return (loaded = {
      seccomp_init: declare('seccomp_init', 'void *', ['uint32_t']),
      seccomp_release: declare('seccomp_release', 'void', ['void *']),
      seccomp_attr_set: declare('seccomp_attr_set', 'int', ['void *', 'int', 'uint32_t']),
      seccomp_syscall_resolve_name: declare('seccomp_syscall_resolve_name', 'int', ['str']),
      seccomp_rule_add_array: declare('seccomp_rule_add_array', 'int', [
        ...['void *', 'uint32_t', 'int', 'unsigned int', 'uintptr_t'],
      ]),
      seccomp_export_bpf: declare('seccomp_export_bpf', 'int', ['void *', 'int']),
    });
  } catch {
    return undefined;
  }
}
