import { describe, expect, it } from 'vitest';
import { choosePort, type VmmAbilities } from '../../../manager/vmm/port-choice.js';
import { refusal } from '../refusal.js';

const abilities = (given: Partial<VmmAbilities> = {}): VmmAbilities => ({
  vfioUser: true,
  vhostUser: true,
  vhostUserDisk: true,
  vhostUserNet: true,
  msixPreventsUnplug: true,
  cardMsix: true,
  ...given,
});
const auto = { port: 'auto', permanent: false } as const;
const permanent = { port: 'auto', permanent: true } as const;

describe('the choice of a port', () => {
  it('takes vhost-user where the VMM has the device for it, permanent or not', () => {
    expect(choosePort(auto, abilities())).toMatchObject({ port: 'vhost-user', msix: false });
    expect(choosePort(permanent, abilities())).toMatchObject({ port: 'vhost-user', msix: false });
  });

  it('takes vfio-user where it has not', () => {
    const vmm = abilities({ vhostUser: false });
    expect(choosePort(auto, vmm)).toMatchObject({ port: 'vfio-user', msix: false });
    expect(choosePort(permanent, vmm)).toMatchObject({ port: 'vfio-user', msix: true });
  });

  it('takes vfio-user, which every supported QEMU has, while none is known', () => {
    expect(choosePort(auto, undefined)).toMatchObject({ port: 'vfio-user', msix: false });
  });

  it('takes what was asked for', () => {
    expect(choosePort({ ...auto, port: 'vfio-user' }, abilities())).toMatchObject({ port: 'vfio-user' });
    expect(choosePort({ ...auto, port: 'vhost-user' }, undefined)).toMatchObject({ port: 'vhost-user' });
  });

  it.each([
    ['vhost-user', { vhostUser: false }],
    ['vfio-user', { vfioUser: false }],
  ] as const)('refuses %s where the VMM lacks it', (port, lacking) => {
    expect(() => choosePort({ ...auto, port }, abilities(lacking))).toThrow(
      expect.objectContaining(refusal('VMM_UNSUITABLE', new RegExp(port))),
    );
  });

  it('never gives vfio-user MSI-X where its unplug would abort the VMM and nobody promised that it stays', () => {
    for (const port of ['auto', 'vfio-user', 'vhost-user'] as const) {
      for (const vhostUser of [false, true]) {
        const vmm = abilities({ vhostUser });
        if (port === 'vhost-user' && !vhostUser) continue;
        const use = choosePort({ port, permanent: false }, vmm);
        expect(use.port === 'vfio-user' && use.msix).toBe(false);
      }
    }
  });

  describe('for a disk', () => {
    const disk = { ...auto, disk: {} };

    it('takes vhost-user with MSI-X, also while no VMM is known', () => {
      for (const vmm of [undefined, abilities({ vhostUser: false })]) {
        expect(choosePort(disk, vmm)).toMatchObject({ port: 'vhost-user', msix: true });
      }
    });

    it('takes vfio-user where the VMM has no vhost-user disk, or where it was asked for', () => {
      const vmm = abilities({ vhostUserDisk: false });
      expect(choosePort(disk, vmm)).toMatchObject({ port: 'vfio-user', msix: false });
      expect(choosePort({ ...disk, port: 'vfio-user' }, abilities()).port).toBe('vfio-user');
    });

    it.each([
      ['vhost-user', { vhostUserDisk: false }],
      ['vfio-user', { vfioUser: false }],
    ] as const)('refuses %s where the VMM lacks it', (port, lacking) => {
      expect(() => choosePort({ ...disk, port }, abilities(lacking))).toThrow(
        expect.objectContaining(refusal('VMM_UNSUITABLE', new RegExp(port))),
      );
    });
  });

  describe('for a network card', () => {
    const card = { ...auto, card: {} };

    it('takes vhost-user with MSI-X, also while no VMM is known', () => {
      for (const vmm of [undefined, abilities({ vhostUser: false, vhostUserDisk: false })]) {
        expect(choosePort(card, vmm)).toMatchObject({ port: 'vhost-user', msix: true });
      }
    });

    it('does with INTx where the VMM can crash with MSI-X, and says so', () => {
      const vmm = abilities({ cardMsix: false });
      for (const port of ['auto', 'vhost-user'] as const) {
        const use = choosePort({ ...card, port }, vmm);
        expect(use).toMatchObject({ port: 'vhost-user', msix: false });
        expect(use.reason).toMatch(/INTx/);
      }
      expect(choosePort({ ...auto, disk: {} }, vmm)).toMatchObject({ msix: true });
    });

    it('takes vfio-user where the VMM has no virtio card, or where it was asked for', () => {
      const vmm = abilities({ vhostUserNet: false });
      expect(choosePort(card, vmm)).toMatchObject({ port: 'vfio-user', msix: false });
      expect(choosePort({ ...card, port: 'vfio-user' }, abilities()).port).toBe('vfio-user');
      expect(() => choosePort({ ...card, port: 'vhost-user' }, vmm)).toThrow(
        expect.objectContaining(refusal('VMM_UNSUITABLE', /virtio-net-pci/)),
      );
    });
  });

  it('says why', () => {
    expect(choosePort(auto, abilities({ vhostUser: false })).reason).toMatch(
      /no generic vhost-user device.*aborts/,
    );
  });
});
