import { describe, expect, it } from 'vitest';
import type { DeviceContext } from '../../../../devices/virtio/device.js';
import { nullDevice } from '../null-device.js';
import { boot, enableMsix, NO_VECTOR, plug, StructureType, type Machine } from './mock-pci-driver.js';

const { ISR } = StructureType;
const STATUS_INTERRUPT = 0x08;

function interruptPending(machine: Machine): boolean {
  return (machine.fn.readConfig(0x06, 2) & STATUS_INTERRUPT) !== 0;
}

/** A booted machine, one request and config change away from its interrupts. */
function ready(msix: boolean) {
  let context: DeviceContext | undefined;
  const machine = plug(nullDevice({ activate: (given) => (context = given) }), { msix });
  const queue = boot(machine);
  const request = (): void => {
    queue.reap();
    queue.allowInterrupts();
    queue.add([{ address: machine.buffer(0), length: 4 }]);
    machine.driver.kick(0);
  };
  const change = (): void => context?.configChanged();
  return { machine, request, change };
}

describe('INTx', () => {
  it('is a level: up at the first reason, down when ISR status is read, which says all reasons', () => {
    const { machine, request, change } = ready(false);
    request();
    request();
    change();
    expect(machine.interrupts).toEqual(['intx on']);
    expect(interruptPending(machine)).toBe(true);
    expect(machine.driver.readAt(ISR, 0, 1)).toBe(3);
    expect(machine.interrupts).toEqual(['intx on', 'intx off']);
    expect(interruptPending(machine)).toBe(false);
    expect(machine.driver.readAt(ISR, 0, 1)).toBe(0);
    request();
    expect(machine.driver.readAt(ISR, 0, 4)).toBe(1);
  });

  it('is held back by the command register’s disable bit, while the status bit tells', () => {
    const { machine, request } = ready(false);
    machine.fn.writeConfig(0x04, 2, 0x0406);
    request();
    expect(machine.interrupts).toEqual([]);
    expect(interruptPending(machine)).toBe(true);
    machine.fn.writeConfig(0x04, 2, 0x0006);
    expect(machine.interrupts).toEqual(['intx on']);
    machine.fn.writeConfig(0x04, 2, 0x0406);
    expect(machine.interrupts).toEqual(['intx on', 'intx off']);
  });

  it('is used by a function with MSI-X as long as that is off', () => {
    const { machine, request } = ready(true);
    request();
    expect(machine.interrupts).toEqual(['intx on']);
    enableMsix(machine);
    expect(machine.interrupts).toEqual(['intx on', 'intx off']);
    expect(interruptPending(machine)).toBe(false);
  });

  it('follows the function from port to port, and is low while there is none', () => {
    const { machine, request } = ready(false);
    request();
    machine.fn.connect(undefined);
    expect(machine.interrupts).toEqual(['intx on', 'intx off']);
    request();
    expect(machine.interrupts).toHaveLength(2);
    machine.fn.connect(machine.port);
    expect(machine.interrupts).toEqual(['intx on', 'intx off', 'intx on']);
  });
});

describe('MSI-X', () => {
  it('sends a queue’s vector for used buffers, and leaves the queue bit of ISR status alone', () => {
    const { machine, request } = ready(true);
    enableMsix(machine);
    request();
    request();
    expect(machine.interrupts).toEqual(['msix 1', 'msix 1']);
    expect(machine.driver.readAt(ISR, 0, 1)).toBe(0);
    expect(machine.fn.counters(0).interrupts).toBe(2);
  });

  it('sends the config vector for config changes, and sets their bit of ISR status, as the specification has it', () => {
    const { machine, change } = ready(true);
    enableMsix(machine);
    change();
    expect(machine.interrupts).toEqual(['msix 0']);
    expect(machine.driver.readAt(ISR, 0, 1)).toBe(2);
  });

  it('sends nothing for an event without a vector', () => {
    const { machine, request, change } = ready(true);
    enableMsix(machine);
    machine.driver.write('configVector', NO_VECTOR);
    machine.driver.write('queueSelect', 0);
    machine.driver.write('queueVector', NO_VECTOR);
    const before = machine.fn.counters(0).interrupts;
    request();
    change();
    expect(machine.interrupts).toEqual([]);
    expect(machine.fn.counters(0)).toMatchObject({ requests: 1, interrupts: before });
  });

  it('sends the config vector when the driver breaks a ring', () => {
    const machine = plug(nullDevice());
    const queue = boot(machine);
    enableMsix(machine);
    queue.setAvailIndex(0x1000);
    machine.driver.kick(0);
    expect(machine.interrupts).toEqual(['msix 0']);
  });

  it('goes through the table on a bus in software, which comes back for what was masked', () => {
    const { machine, request } = ready(true);
    const sent: [number, number][] = [];
    machine.fn.connect({
      setIntx: () => {},
      triggerMsix: (vector) =>
        machine.fn.msix?.deliver(vector, (address, data) => void sent.push([address, data])),
    });
    enableMsix(machine);
    machine.fn.writeBar(1, 16, 4, 0xfee0_1000);
    machine.fn.writeBar(1, 24, 4, 0x31);
    request();
    expect(sent).toEqual([]);
    expect(machine.fn.readBar(1, 0x800, 4)).toBe(0b10);
    machine.fn.writeBar(1, 28, 4, 0);
    expect(sent).toEqual([[0xfee0_1000, 0x31]]);
    expect(machine.fn.readBar(1, 0x800, 4)).toBe(0);
    machine.fn.writeBar(1, 0x800, 4, 0xffff_ffff);
    expect(machine.fn.readBar(1, 0x800, 4)).toBe(0);
  });

  it('sends nothing while the function is in no port', () => {
    const { machine, request } = ready(true);
    enableMsix(machine);
    machine.fn.connect(undefined);
    request();
    expect(machine.interrupts).toEqual([]);
  });
});

describe('MSI-X on a bus in software', () => {
  const TABLE_ENTRY = 16;
  const VECTOR_CONTROL = 12;
  const PBA = 0x800;

  /** Vectors with messages of their own, all unmasked; what was sent, by data. */
  function bus(options: { msixVectorCount?: number } = {}) {
    const machine = plug(nullDevice(), options);
    const sent: number[] = [];
    machine.fn.connect({
      setIntx: () => {},
      triggerMsix: (vector) => machine.fn.msix?.deliver(vector, (_, data) => void sent.push(data)),
    });
    enableMsix(machine);
    for (let vector = 0; vector < machine.fn.msixVectorCount; vector++) {
      machine.fn.writeBar(1, vector * TABLE_ENTRY, 4, 0xfee0_0000);
      machine.fn.writeBar(1, vector * TABLE_ENTRY + 8, 4, 0x40 + vector);
      mask(machine, vector, 0);
    }
    const queue = boot(machine);
    const request = (): void => {
      queue.reap();
      queue.allowInterrupts();
      queue.add([{ address: machine.buffer(0), length: 4 }]);
      machine.driver.kick(0);
    };
    return { machine, sent, request };
  }

  function mask(machine: Machine, vector: number, bit: 0 | 1): void {
    machine.fn.writeBar(1, vector * TABLE_ENTRY + VECTOR_CONTROL, 4, bit);
  }

  function setControl(machine: Machine, bits: number): void {
    machine.fn.writeConfig(machine.driver.capabilities(0x11)[0] + 2, 2, bits);
  }

  it('keeps what fires under the function mask, and sends it when that is lifted', () => {
    const { machine, sent, request } = bus();
    setControl(machine, 0xc000);
    request();
    expect(sent).toEqual([]);
    expect(machine.fn.readBar(1, PBA, 4)).toBe(0b10);
    setControl(machine, 0x8000);
    expect(sent).toEqual([0x41]);
    expect(machine.fn.readBar(1, PBA, 4)).toBe(0);
  });

  it('sends to the new vector of a queue whose old one is masked and pending, which is sent once it is unmasked', () => {
    const { machine, sent, request } = bus();
    mask(machine, 1, 1);
    request();
    machine.driver.write('queueSelect', 0);
    machine.driver.write('queueVector', 2);
    request();
    expect(sent).toEqual([0x42]);
    expect(machine.fn.readBar(1, PBA, 4)).toBe(0b10);
    mask(machine, 1, 0);
    expect(sent).toEqual([0x42, 0x41]);
    request();
    expect(sent).toEqual([0x42, 0x41, 0x42]);
  });

  it('leaves a pending vector pending where its queue loses it', () => {
    const { machine, sent, request } = bus();
    mask(machine, 1, 1);
    request();
    machine.driver.write('queueSelect', 0);
    machine.driver.write('queueVector', NO_VECTOR);
    request();
    mask(machine, 1, 0);
    expect(sent).toEqual([0x41]);
  });

  it('falls back on the pin where MSI-X is switched off, and back', () => {
    const { machine, sent, request } = bus();
    setControl(machine, 0);
    request();
    expect(interruptPending(machine)).toBe(true);
    setControl(machine, 0x8000);
    expect(interruptPending(machine)).toBe(false);
    request();
    expect(sent).toEqual([0x41]);
  });

  it('may have fewer vectors than events: those beyond cannot be had, and events share the others', () => {
    const { machine, sent, request } = bus({ msixVectorCount: 2 });
    const [at] = machine.driver.capabilities(0x11);
    expect(machine.fn.readConfig(at + 2, 2) & 0x7ff).toBe(1);
    machine.driver.write('queueSelect', 1);
    machine.driver.write('queueVector', 2);
    expect(machine.driver.read('queueVector')).toBe(NO_VECTOR);
    machine.driver.write('queueVector', 1);
    expect(machine.driver.read('queueVector')).toBe(1);
    request();
    expect(sent).toEqual([0x41]);
  });

  it('has one table of 2,048 vectors at most, however many queues there are', () => {
    const { fn } = plug(nullDevice({ queueSizes: new Array<number>(3000).fill(1) }));
    expect(fn.msixVectorCount).toBe(2048);
  });
});
