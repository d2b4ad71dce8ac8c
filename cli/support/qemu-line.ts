/** What of a QEMU's command line `chassis args` leaves to whoever starts it. */
import { accessSync, constants } from 'node:fs';

export interface BootOptions {
  readonly cpus: number;
  /** KVM where this user has it, and emulation elsewhere, where it is absent. */
  readonly accel?: string | undefined;
  readonly kernel?: string | undefined;
  readonly initrd?: string | undefined;
  readonly append?: string | undefined;
  /** Images, each as a virtio disk of QEMU's own. */
  readonly disks?: readonly string[] | undefined;
}

export function bootLine({ cpus, accel, kernel, initrd, append, disks }: BootOptions): string[] {
  return [
    ...['-accel', accel ?? (kvmUsable() ? 'kvm' : 'tcg'), '-smp', String(cpus)],
    ...(kernel === undefined ? [] : ['-kernel', kernel]),
    ...(initrd === undefined ? [] : ['-initrd', initrd]),
    ...(append === undefined ? [] : ['-append', append]),
    ...(disks ?? []).flatMap((file) => ['-drive', `file=${file.replaceAll(',', ',,')},if=virtio`]),
  ];
}

function kvmUsable(): boolean {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
