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

function lock(type: number, startBytes = 0, lengthBytes = 0, processId = 1): Lock {
  return { type, startBytes, lengthBytes, processId, clientId: 'guest' };
}

/** The same, of another process. */
function anothers(type: number, startBytes = 0, lengthBytes = 0): Lock {
  return lock(type, startBytes, lengthBytes, 2);
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

    it('exclude other processes, without waiting', async () => {
      const node = await put(context.root, 'f', 'content');
      const first = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      const second = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      expect(await first.lock(lock(P9_LOCK_TYPE_WRLCK, 10, 5))).toBe(P9_LOCK_SUCCESS);
      expect(await second.lock(anothers(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_BLOCKED);
      expect(await second.lock(anothers(P9_LOCK_TYPE_RDLCK, 14, 1))).toBe(P9_LOCK_BLOCKED);
      expect(await second.lock(anothers(P9_LOCK_TYPE_WRLCK, 15, 5))).toBe(P9_LOCK_SUCCESS);
      expect(await first.lock(lock(P9_LOCK_TYPE_UNLCK))).toBe(P9_LOCK_SUCCESS);
      expect(await second.lock(anothers(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_SUCCESS);
      await first.close();
      await second.close();
      node.release();
    });

    it('are shared by readers, and given up when the file is closed', async () => {
      const node = await put(context.root, 'f', 'content');
      const first = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      const second = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      expect(await first.lock(lock(P9_LOCK_TYPE_RDLCK))).toBe(P9_LOCK_SUCCESS);
      expect(await second.lock(anothers(P9_LOCK_TYPE_RDLCK))).toBe(P9_LOCK_SUCCESS);
      expect(await second.lock(anothers(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_BLOCKED);
      await first.close();
      expect(await second.lock(anothers(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_SUCCESS);
      await second.close();
      node.release();
    });

    it('are found by getlock', async () => {
      const node = await put(context.root, 'f', 'content');
      const first = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      const second = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      expect(await first.lock(lock(P9_LOCK_TYPE_WRLCK, 100, 50))).toBe(P9_LOCK_SUCCESS);
      const asked = anothers(P9_LOCK_TYPE_RDLCK, 120, 1);
      await count(second.getlock(asked));
      expect(asked).toMatchObject({ type: P9_LOCK_TYPE_WRLCK, startBytes: 100, lengthBytes: 50 });
      const free = anothers(P9_LOCK_TYPE_WRLCK, 150, 1);
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
      await file.close();
      node.release();
    });

    it('of one process do not exclude each other, through whichever file they are set', async () => {
      const node = await put(context.root, 'f', 'content');
      const first = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      const second = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      expect(await first.lock(lock(P9_LOCK_TYPE_WRLCK, 0, 10))).toBe(P9_LOCK_SUCCESS);
      expect(await second.lock(lock(P9_LOCK_TYPE_WRLCK, 5, 10))).toBe(P9_LOCK_SUCCESS);
      expect(await second.lock(lock(P9_LOCK_TYPE_UNLCK, 0, 7))).toBe(P9_LOCK_SUCCESS);
      expect(await first.lock(anothers(P9_LOCK_TYPE_WRLCK, 0, 7))).toBe(P9_LOCK_SUCCESS);
      expect(await first.lock(anothers(P9_LOCK_TYPE_WRLCK, 7, 1))).toBe(P9_LOCK_BLOCKED);
      await first.close();
      await second.close();
      node.release();
    });

    it('of processes that share a file exclude each other there', async () => {
      const node = await put(context.root, 'f', 'content');
      const shared = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      expect(await shared.lock(lock(P9_LOCK_TYPE_RDLCK))).toBe(P9_LOCK_SUCCESS);
      expect(await shared.lock(anothers(P9_LOCK_TYPE_RDLCK))).toBe(P9_LOCK_SUCCESS);
      expect(await shared.lock(anothers(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_BLOCKED);
      expect(await shared.lock(anothers(P9_LOCK_TYPE_UNLCK))).toBe(P9_LOCK_SUCCESS);
      expect(await shared.lock(anothers(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_BLOCKED);
      await shared.close();
      node.release();
    });

    it('asked about as none, which is how Linux asks, are found as by one who would write', async () => {
      const node = await put(context.root, 'f', 'content');
      const file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      expect(await file.lock(lock(P9_LOCK_TYPE_RDLCK, 3, 4))).toBe(P9_LOCK_SUCCESS);
      const asked = anothers(P9_LOCK_TYPE_UNLCK);
      await count(file.getlock(asked));
      expect(asked).toMatchObject({ type: P9_LOCK_TYPE_RDLCK, startBytes: 3, lengthBytes: 4 });
      const own = lock(P9_LOCK_TYPE_UNLCK);
      await count(file.getlock(own));
      expect(own.type).toBe(P9_LOCK_TYPE_UNLCK);
      await file.close();
      node.release();
    });

    it('may be had of a file that is open to read or to write alone, as flock(2) does', async () => {
      const node = await put(context.root, 'f', 'content');
      for (const flags of [OpenFlag.O_RDONLY, OpenFlag.O_WRONLY]) {
        const file = await ok<OpenFile>(node.open(flags));
        expect(await file.lock(lock(P9_LOCK_TYPE_WRLCK))).toBe(P9_LOCK_SUCCESS);
        expect(await file.lock(lock(P9_LOCK_TYPE_RDLCK))).toBe(P9_LOCK_SUCCESS);
        await file.close();
      }
      node.release();
    });

    it('that are released and were never held are no failure', async () => {
      const node = await put(context.root, 'f', 'content');
      const file = await ok<OpenFile>(node.open(OpenFlag.O_RDWR));
      expect(await file.lock(lock(P9_LOCK_TYPE_UNLCK))).toBe(P9_LOCK_SUCCESS);
      expect(await file.lock(lock(P9_LOCK_TYPE_UNLCK, 5, 5))).toBe(P9_LOCK_SUCCESS);
      await file.close();
      node.release();
    });
  });
}
