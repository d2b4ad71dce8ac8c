/** Byte-range locks. */
import { describe, expect, it } from 'vitest';
import {
  LockStatus,
  LockType,
  OpenFlag,
  type Lock,
  type OpenFile,
} from '../../../../../devices/9p/fs/file-system.js';
import { count, failure, ok, put, type Context } from './driver.js';

const { P9_LOCK_TYPE_RDLCK, P9_LOCK_TYPE_UNLCK, P9_LOCK_TYPE_WRLCK } = LockType;
const { P9_LOCK_BLOCKED, P9_LOCK_SUCCESS } = LockStatus;

function lock(type: number, startBytes = 0, lengthBytes = 0): Lock {
  return { type, startBytes, lengthBytes, processId: 1, clientId: 'guest' };
}

export function locksSuite(context: Context): void {
  describe('locks', () => {
    if (!context.capabilities.locks) {
      it('are EOPNOTSUPP', async () => {
        const node = await put(context.root, 'f', '');
        const file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
        expect(await failure(file.lock(lock(P9_LOCK_TYPE_WRLCK)))).toBe('EOPNOTSUPP');
        expect(await failure(file.getlock(lock(P9_LOCK_TYPE_WRLCK)))).toBe('EOPNOTSUPP');
        await file.close();
        node.release();
      });
      return;
    }

    it('exclude other open files of the same file, without waiting', async () => {
      const node = await put(context.root, 'f', 'content');
      const first = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      const second = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      expect(await first.lock(lock(P9_LOCK_TYPE_WRLCK, 10, 5))).toBe(P9_LOCK_SUCCESS);
      expect(await second.lock(lock(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_BLOCKED);
      expect(await second.lock(lock(P9_LOCK_TYPE_RDLCK, 14, 1))).toBe(P9_LOCK_BLOCKED);
      expect(await second.lock(lock(P9_LOCK_TYPE_WRLCK, 15, 5))).toBe(P9_LOCK_SUCCESS);
      expect(await first.lock(lock(P9_LOCK_TYPE_UNLCK))).toBe(P9_LOCK_SUCCESS);
      expect(await second.lock(lock(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_SUCCESS);
      await first.close();
      await second.close();
      node.release();
    });

    it('are shared by readers, and given up when the file is closed', async () => {
      const node = await put(context.root, 'f', 'content');
      const first = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      const second = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      expect(await first.lock(lock(P9_LOCK_TYPE_RDLCK))).toBe(P9_LOCK_SUCCESS);
      expect(await second.lock(lock(P9_LOCK_TYPE_RDLCK))).toBe(P9_LOCK_SUCCESS);
      expect(await second.lock(lock(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_BLOCKED);
      await first.close();
      expect(await second.lock(lock(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_SUCCESS);
      await second.close();
      node.release();
    });

    it('are found by getlock', async () => {
      const node = await put(context.root, 'f', 'content');
      const first = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      const second = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      expect(await first.lock(lock(P9_LOCK_TYPE_WRLCK, 100, 50))).toBe(P9_LOCK_SUCCESS);
      const asked = lock(P9_LOCK_TYPE_RDLCK, 120, 1);
      await count(second.getlock(asked));
      expect(asked).toMatchObject({ type: P9_LOCK_TYPE_WRLCK, startBytes: 100, lengthBytes: 50 });
      const free = lock(P9_LOCK_TYPE_WRLCK, 150, 1);
      await count(second.getlock(free));
      expect(free).toMatchObject({ type: P9_LOCK_TYPE_UNLCK, startBytes: 150, lengthBytes: 1 });
      await first.close();
      await second.close();
      node.release();
    });

    it('of types that are none are EINVAL', async () => {
      const node = await put(context.root, 'f', '');
      const file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      for (const type of [3, 7, 255, -1]) {
        expect(await failure(file.lock(lock(type)))).toBe('EINVAL');
        expect(await failure(file.getlock(lock(type)))).toBe('EINVAL');
      }
      expect(await failure(file.getlock(lock(P9_LOCK_TYPE_UNLCK)))).toBe('EINVAL');
      await file.close();
      node.release();
    });
  });
}
