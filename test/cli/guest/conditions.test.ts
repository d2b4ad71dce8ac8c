import { describe, expect, it } from 'vitest';
import { isMet } from '../../../cli/guest/conditions.js';
import type { Chassis, Mount } from '../../../manager/control/api.js';

const VMM = { type: 'qemu' as const, version: '10.1.0', notes: [] };

function chassis(change: Partial<Chassis>): Chassis {
  return {
    ...{ name: 'dev', slots: 4, slotsFree: 4, qmpSocket: '', mounts: [], kept: [], disks: [], cards: [] },
    deviceProcess: { state: 'running', restarts: 0 },
    ...change,
  };
}

function mount(change: Partial<Mount>): Mount {
  return {
    ...{ chassis: 'dev', tag: 'src', readOnly: false, permanent: false, via: 'tree', slot: 1, function: 0 },
    state: 'plugged',
    ...change,
  };
}

describe('waiting for a guest', () => {
  it('to have mounted everything looks at each mount that has a target', () => {
    const there = mount({ target: '/a', inGuest: 'mounted' });
    const waiting = mount({ tag: 'b', target: '/b', inGuest: 'waiting' });
    expect(isMet('mounted', chassis({ mounts: [there, mount({ tag: 'c' })] }), undefined)).toBe(true);
    expect(isMet('mounted', chassis({ mounts: [there, waiting] }), undefined)).toBe(false);
    expect(() => isMet('mounted', chassis({ mounts: [mount({})] }), undefined)).toThrow('has a target');
  });

  it('to have one mount looks whether the guest has files of it, where it has no target', () => {
    const used = mount({ held: { fids: 2, openFiles: 0 } });
    expect(isMet('mounted', chassis({ mounts: [used] }), 'src')).toBe(true);
    expect(isMet('mounted', chassis({ mounts: [mount({ held: { fids: 0, openFiles: 0 } })] }), 'src')).toBe(
      false,
    );
    expect(isMet('mounted', chassis({}), 'src')).toBe(false);
  });

  it('to boot looks for a helper, and not for a VM alone', () => {
    const mounts = [mount({})];
    const onFunction = [mount({ via: 'function' })];
    expect(isMet('booted', chassis({ mounts, vmm: VMM }), undefined)).toBe(false);
    expect(isMet('booted', chassis({ mounts, vmm: VMM, guestHelper: true }), undefined)).toBe(true);
    expect(isMet('booted', chassis({ mounts, vmm: VMM, guestCommands: true }), undefined)).toBe(true);
    expect(isMet('booted', chassis({ mounts, guestHelper: true }), undefined)).toBe(false);
    expect(isMet('booted', chassis({ mounts: onFunction, vmm: VMM }), undefined)).toBe(false);
    expect(() => isMet('booted', chassis({ vmm: VMM }), undefined)).toThrow('has no mount');
  });

  it('to go is about the VM, or the mount that was named', () => {
    expect(isMet('gone', chassis({ vmm: VMM }), undefined)).toBe(false);
    expect(isMet('gone', chassis({}), undefined)).toBe(true);
    expect(isMet('gone', chassis({ mounts: [mount({})] }), 'src')).toBe(false);
    expect(isMet('gone', chassis({ mounts: [mount({})] }), 'other')).toBe(true);
  });
});
