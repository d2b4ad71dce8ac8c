/** A libvirt domain that is wired to a chassis: what QEMU is to get goes to it as it is, except memory, which libvirt gives it. */
import { ChassisError } from '../../manager/control/api.js';

export interface Domain {
  readonly name: string;
  readonly memoryMiB: number;
  /** QEMU's, each flag with its value. */
  readonly args: readonly string[];
}

/** libvirt sees to the machine and its memory itself, and of two the first would not do. */
const LIBVIRTS_OWN = new Set(['-machine', '-m', '-object']);
/** XML 1.0 has no way to write these. */
// eslint-disable-next-line no-control-regex
const UNWRITABLE = /[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/;

/** @throws ChassisError BAD_REQUEST where an argument has characters that XML has not */
export function libvirtDomain({ name, memoryMiB, args }: Domain): string {
  return [
    `<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>`,
    `  <name>${name}</name>`,
    `  <memory unit='MiB'>${memoryMiB}</memory>`,
    `  <memoryBacking>`,
    `    <source type='memfd'/>`,
    `    <access mode='shared'/>`,
    `  </memoryBacking>`,
    `  <os>`,
    `    <type arch='x86_64' machine='q35'>hvm</type>`,
    `  </os>`,
    `  <qemu:commandline>`,
    ...withoutLibvirtsOwn(args).map((arg) => `    <qemu:arg value='${attribute(arg)}'/>`),
    `  </qemu:commandline>`,
    `</domain>`,
  ].join('\n');
}

function withoutLibvirtsOwn(args: readonly string[]): string[] {
  return args.filter((arg, i) => !LIBVIRTS_OWN.has(arg) && !LIBVIRTS_OWN.has(args[i - 1] ?? ''));
}

function attribute(text: string): string {
  if (UNWRITABLE.test(text)) {
    throw new ChassisError(
      'BAD_REQUEST',
      `XML cannot say ${JSON.stringify(text)}`,
      'choose paths without control characters, or another --format',
    );
  }
  return text.replaceAll(/[&<>'"\t\n\r]/g, (character) => `&#${character.charCodeAt(0)};`);
}
