import { execa } from 'execa';
import { isAtLeast } from '../../../testbed/qemu.js';
import { requireRealQemu } from '../lab.js';
import { machineArgs, type ServedDevice } from './device-server.js';

/** What a machine without an operating system did. */
export interface FirmwareRun {
  /** What it said on its first serial port. */
  readonly serial: string;
  readonly exitCode: number | undefined;
  readonly stderr: string;
}

const MEMORY_MIB = 256;

/** Starts a machine with one device, lets its firmware boot, and waits until the program that this loads ends it. */
export async function runFirmware(
  { args: deviceArgs }: Pick<ServedDevice, 'args'>,
  firmwareArgs: readonly string[],
  timeoutMs: number,
): Promise<FirmwareRun> {
  const { command, version } = requireRealQemu();
  const [file, ...prefix] = command;
  const args = [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-accel', 'tcg'],
    ...(isAtLeast(version, [10, 2, 0]) ? ['-run-with', 'exit-with-parent=on'] : []),
    ...machineArgs(MEMORY_MIB),
    ...['-serial', 'stdio', '-device', 'isa-debug-exit,iobase=0x501,iosize=1'],
    ...firmwareArgs,
    ...deviceArgs,
  ];
  const options = { reject: false, stdin: 'ignore', timeout: timeoutMs } as const;
  const { stdout, stderr, exitCode } = await execa(file, [...prefix, ...args], options);
  return { serial: stdout, exitCode, stderr };
}
