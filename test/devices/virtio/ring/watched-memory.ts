/** What a ring's accesses to guest memory do. Offsets are bytes in RAM, values unsigned. */
export interface AccessModel {
  load(offset: number, width: Width, atomic: boolean): number;
  store(offset: number, width: Width, value: number, atomic: boolean): void;
}
export type Width = 2 | 4 | 8;

type RingArray = Int32Array | Uint16Array | Float64Array;
type AtomicLoad = (array: RingArray, index: number) => number;
type AtomicStore = (array: RingArray, index: number, value: number) => number;

const models = new WeakMap<ArrayBufferLike, AccessModel>();
const watched = new WeakMap<RingArray, AccessModel>();

/** Has every access that rings make to `ram` from now on go through `model`, between `beginWatching` and what ends it. */
export function watchMemory(ram: Uint8Array, model: AccessModel): void {
  models.set(ram.buffer, model);
}

/**
 * Puts constructors of arrays and Atomics in place that look out for watched memory: rings that are activated from now on get such arrays.
 * Answers what ends it. Test doubles of vitest keep a record of each call, and there are millions.
 */
export function beginWatching(): () => void {
  const { Int32Array: words, Uint16Array: halves, Float64Array: doubles } = globalThis;
  const { load, store } = Atomics as unknown as { load: AtomicLoad; store: AtomicStore };
  const atomics = Atomics as unknown as { load: AtomicLoad; store: AtomicStore };
  globalThis.Int32Array = watching(words);
  globalThis.Uint16Array = watching(halves);
  globalThis.Float64Array = watching(doubles);
  atomics.load = (array, index) => {
    const model = watched.get(array);
    return model === undefined ? load(array, index) : valueOf(array, index, model, true);
  };
  atomics.store = (array, index, value) => {
    const model = watched.get(array);
    if (model === undefined) return store(array, index, value);
    model.store(...placeOf(array, index), value, true);
    return value;
  };
  return () => {
    globalThis.Int32Array = words;
    globalThis.Uint16Array = halves;
    globalThis.Float64Array = doubles;
    Object.assign(atomics, { load, store });
  };
}

function watching<Kind extends Int32ArrayConstructor | Uint16ArrayConstructor | Float64ArrayConstructor>(
  plain: Kind,
): Kind {
  const construct = (_: Kind, args: [ArrayBuffer, number, number]): RingArray => {
    const array = new plain(...args);
    const model = models.get(array.buffer);
    if (model === undefined) return array;
    const proxy = watchedArray(array, model);
    watched.set(proxy, model);
    return proxy;
  };
  return new Proxy(plain, { construct });
}

/** What there is without a model. */
export class PlainMemory implements AccessModel {
  readonly #view: DataView;

  constructor(ram: Uint8Array) {
    this.#view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  }

  load(offset: number, width: Width): number {
    if (width === 8) return this.#view.getFloat64(offset, true);
    return width === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint32(offset, true);
  }

  store(offset: number, width: Width, value: number): void {
    if (width === 8) this.#view.setFloat64(offset, value, true);
    else if (width === 2) this.#view.setUint16(offset, value, true);
    else this.#view.setUint32(offset, value, true);
  }
}

function watchedArray(array: RingArray, model: AccessModel): RingArray {
  return new Proxy(array, {
    get: (target, key) => {
      const index = indexOf(key);
      if (Number.isNaN(index)) return Reflect.get(target, key, target) as unknown;
      return valueOf(target, index, model, false);
    },
    set: (target, key, value: number) => {
      model.store(...placeOf(target, indexOf(key)), value, false);
      return true;
    },
  });
}

function indexOf(key: string | symbol): number {
  return typeof key === 'string' ? Number(key) : NaN;
}

function valueOf(array: RingArray, index: number, model: AccessModel, atomic: boolean): number {
  const [offset, width] = placeOf(array, index);
  const value = model.load(offset, width, atomic);
  return width === 4 ? value | 0 : value;
}

/** A place that an array does not have is an access out of bounds. */
function placeOf(array: RingArray, index: number): [offset: number, width: Width] {
  if (!(index < array.length)) throw new RangeError(`element ${index} of ${array.length}`);
  return [array.byteOffset + index * array.BYTES_PER_ELEMENT, array.BYTES_PER_ELEMENT as Width];
}
