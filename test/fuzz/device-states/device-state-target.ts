/**
 * The state of a device as a front-end or a file brings it, with bytes, lengths and counts changed and its checksum right again. Right is: it is refused,
 * and the device is as it was, or it is taken, and the device says the like of itself again; and no descriptor is left over.
 */
import { sealState, StateHeader } from '../../../devices/virtio/state/header.js';
import type { VirtioDevice } from '../../../devices/virtio/device.js';
import { deviceStateOf, giveDeviceState } from '../../../manager/ports/vhost-user/device-state.js';
import { decodeMovedState, encodeMovedState } from '../../../manager/ports/vhost-user/moved-state.js';
import { openDescriptors } from '../../devices/9p/fs/host-directory/exported.js';
import type { Random } from '../../support/random.js';
import { anyNumber, type FuzzCase } from '../case.js';
import type { FuzzTarget } from '../fuzzer.js';
import { Samples, type Sample } from './samples.js';
import { ByteChange, changeBytes } from '../byte-change.js';
import { textNumber } from '../text-number.js';

const Kind = { ...ByteChange, REPEAT: 4 } as const;
const TAKEN = 'taken';
const KIND_COUNT = Object.keys(Kind).length;

export class DeviceStateTarget implements FuzzTarget {
  readonly name = 'device-states';
  readonly unit = 'states of devices';
  #samples: Samples | undefined;

  newCase(random: Random): FuzzCase {
    return {
      setup: [random(3), random(4)],
      steps: Array.from({ length: random(4) }, () => this.newStep(random)),
    };
  }

  newStep(random: Random): number[] {
    return [random(KIND_COUNT), anyNumber(random), anyNumber(random)];
  }

  async run({ setup: [number, sealed], steps }: FuzzCase, saw: (what: number) => void): Promise<number> {
    const { all } = (this.#samples ??= await Samples.make());
    const sample = all[number % all.length];
    const before = openDescriptors();
    const device = await sample.newDevice();
    try {
      let bytes: Buffer = Buffer.from(encodeMovedState(device, { features: 0n, device: sample.state }));
      for (const step of steps) bytes = changed(bytes, step);
      if (sealed % 4 !== 0 && bytes.length >= StateHeader.BYTES) sealState(bytes);
      const outcome = await this.#give(sample, device, new Uint8Array(bytes));
      if (steps.length === 0 && outcome !== TAKEN)
        throw new Error(`what nobody changed is refused: ${outcome}`);
      saw(textNumber(`${device.deviceId} ${outcome}`));
    } finally {
      await device.reset();
      await device.close();
    }
    if (openDescriptors() !== before) throw new Error('descriptors are left over');
    return 1;
  }

  close(): void {
    this.#samples?.close();
  }

  /** Answers what came of it. */
  async #give(sample: Sample, device: VirtioDevice, bytes: Uint8Array): Promise<string> {
    const moved = decodeMovedState(bytes, device, device.features);
    if (typeof moved === 'string') return kindOf(moved);
    const asAtPowerOn = deviceStateOf(device);
    const problem = await giveDeviceState(device, moved.device);
    if (problem !== undefined) {
      await device.reset();
      if (!Buffer.from(deviceStateOf(device)).equals(asAtPowerOn))
        throw new Error('it was refused, and changed something');
      return kindOf(problem);
    }
    const next = await sample.newDevice();
    try {
      const again = await giveDeviceState(next, deviceStateOf(device));
      // The first one has the locks.
      if (again !== undefined && !again.includes('lock'))
        throw new Error(`what was taken is refused again: ${again}`);
      return TAKEN;
    } finally {
      await next.reset();
      await next.close();
    }
  }
}

/** Without what is a case's own. */
function kindOf(problem: string): string {
  return problem.replace(/".*"/gs, '').replace(/\d+/g, '');
}

function changed(bytes: Buffer, [kind, where, what]: readonly number[]): Buffer {
  // Counted from the start or from the end, behind the header.
  const from = Math.floor(where / 2) % Math.max(bytes.length - StateHeader.BYTES, 1);
  const at = where % 2 === 0 ? StateHeader.BYTES + from : Math.max(bytes.length - 1 - from, 0);
  if (kind % KIND_COUNT === Kind.REPEAT)
    return Buffer.concat([bytes, bytes.subarray(Math.max(at, bytes.length - what))]);
  return changeBytes(bytes, kind % KIND_COUNT, at, what);
}
