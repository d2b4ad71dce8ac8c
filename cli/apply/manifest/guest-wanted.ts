/** What a manifest says of a chassis's VM, and of what is done in its guest. */
import { readFileSync, statSync } from 'node:fs';
import { quoted } from '../../support/changes-text.js';
import { parseBytes } from '../../support/size.js';
import type { DesiredChassis, DesiredStep, DesiredVm } from '../plan/desired.js';
import type { NodeReader } from './node-reader.js';
import type { ManifestChassis, ManifestStep, ManifestVm } from './schema.js';

const MIB = 1 << 20;
const SCRIPT_MAX_BYTES = 1 << 20;
const STEP_TIMEOUT_SECONDS = 600;

export class GuestWanted {
  readonly #reader: NodeReader;
  /** From what a manifest says to a path. */
  readonly #path: (text: string) => string;

  constructor(reader: NodeReader, path: (text: string) => string) {
    this.#reader = reader;
    this.#path = path;
  }

  of(entry: ManifestChassis): Pick<DesiredChassis, 'vm' | 'provision'> {
    const provision = (entry.provision ?? []).flatMap((step) => this.#step(step) ?? []);
    return {
      ...(entry.vm && { vm: this.#vm(entry, entry.vm) }),
      ...(provision.length > 0 && { provision }),
    };
  }

  #vm(holder: ManifestChassis, vm: ManifestVm): DesiredVm {
    const {
      qemu = process.env.CHASSIS_QEMU ?? 'qemu-system-x86_64',
      cpus = 1,
      accel,
      append,
      args = [],
    } = vm;
    const file = (key: 'kernel' | 'initrd') => {
      const text = vm[key];
      const path = text === undefined ? undefined : this.#existing(vm, key, text);
      return path === undefined ? {} : { [key]: path };
    };
    if (vm.kernel === undefined && (vm.initrd ?? append) !== undefined)
      this.#refuse(
        vm,
        vm.initrd === undefined ? 'append' : 'initrd',
        'it is for a kernel',
        'add kernel: FILE',
      );
    return {
      ...{ at: this.#reader.placeOf(holder, 'vm'), qemu, memoryMiB: this.#memory(vm), args },
      boot: {
        ...{ cpus, ...file('kernel'), ...file('initrd') },
        ...(accel !== undefined && { accel }),
        ...(append !== undefined && { append }),
        disks: (vm.disks ?? []).flatMap((disk) => this.#existing(vm, 'disks', disk) ?? []),
      },
      ...(vm.console !== undefined && { console: this.#path(vm.console) }),
    };
  }

  #memory(vm: ManifestVm): number {
    const { memory = '1G' } = vm;
    const bytes = typeof memory === 'number' ? memory : bytesOf(memory);
    if (bytes >= 64 * MIB && bytes <= 2 ** 20 * MIB && bytes % MIB === 0) return bytes / MIB;
    this.#refuse(vm, 'memory', 'a VM has from 64M to 1T, in whole MiB');
    return 64;
  }

  #step(step: ManifestStep): DesiredStep | undefined {
    const { name, when = 'changed', user, timeout = STEP_TIMEOUT_SECONDS } = step;
    const at = this.#reader.placeOf(step, 'name');
    const action = this.#action(step);
    if (user !== undefined && action?.type === 'copy')
      this.#refuse(step, 'user', "what is copied is root's", 'leave it out, and chown in a step after it');
    if (!action) return undefined;
    return { name, at, action, when, timeoutMs: timeout * 1000, ...(user !== undefined && { user }) };
  }

  #action(step: ManifestStep): DesiredStep['action'] | undefined {
    const { run, script, copy } = step;
    if ([run, script, copy].filter((each) => each !== undefined).length !== 1)
      return this.#refuse(step, 'name', 'a step has one of run, script and copy');
    if (run !== undefined) return { type: 'run', script: run };
    if (script !== undefined) return this.#script(step, script);
    if (copy === undefined) return undefined;
    const from = this.#existing(copy, 'from', copy.from);
    return from === undefined ? undefined : { type: 'copy', from, to: copy.to };
  }

  #script(step: ManifestStep, text: string): DesiredStep['action'] | undefined {
    const path = this.#existing(step, 'script', text);
    // That it is missing has been said.
    if (path === undefined) return undefined;
    try {
      const stats = statSync(path);
      // What is no file may have no end, or nothing to read until somebody writes.
      if (!stats.isFile()) return this.#refuse(step, 'script', `${path} is not a file`);
      if (stats.size > SCRIPT_MAX_BYTES) return this.#refuse(step, 'script', 'it is longer than 1 MiB');
      return { type: 'run', script: readFileSync(path, 'utf8') };
    } catch (error) {
      return this.#refuse(step, 'script', (error as Error).message);
    }
  }

  #existing(holder: object, key: string, text: string): string | undefined {
    const path = this.#path(text);
    try {
      if (statSync(path, { throwIfNoEntry: false }) === undefined)
        return this.#refuse(holder, key, `there is no ${path}`, 'create it, or check the spelling');
    } catch (error) {
      return this.#refuse(holder, key, `cannot look at ${path}: ${(error as Error).message}`);
    }
    // `DIR/.` is what is in DIR.
    return text.endsWith('/.') ? `${path}/.` : path;
  }

  #refuse(holder: object, key: string, message: string, suggestion?: string): undefined {
    return this.#reader.refuse(this.#reader.placeOf(holder, key), `${quoted(key)}: ${message}`, suggestion);
  }
}

/** NaN where it is too much to count. */
function bytesOf(memory: string): number {
  try {
    return parseBytes(memory);
  } catch {
    return NaN;
  }
}
