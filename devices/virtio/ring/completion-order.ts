import type { DescriptorChain } from './descriptor-chain.js';

/**
 * Chains as they were taken, which is how they are used where VIRTIO_F_IN_ORDER was negotiated (virtio 1.3, sections 2.7.9 and 2.8.8): one
 * that a device completes earlier waits here for those before it.
 */
export class CompletionOrder {
  #oldest: DescriptorChain | undefined;
  #newest: DescriptorChain | undefined;

  taken(chain: DescriptorChain): void {
    chain.completed = false;
    if (this.#newest === undefined) this.#oldest = chain;
    else this.#newest.next = chain;
    this.#newest = chain;
  }

  /** All that are here, oldest first. */
  chains(): DescriptorChain[] {
    const chains: DescriptorChain[] = [];
    for (let chain = this.#oldest; chain !== undefined; chain = chain.next) chains.push(chain);
    return chains;
  }

  /** The chain that was taken last was not taken after all. */
  untaken(): void {
    const newest = this.#newest;
    let before = this.#oldest === newest ? undefined : this.#oldest;
    while (before !== undefined && before.next !== newest) before = before.next;
    if (before === undefined) this.#oldest = undefined;
    else before.next = undefined;
    this.#newest = before;
  }

  /** Takes out the oldest chain, once it is completed. */
  shift(): DescriptorChain | undefined {
    const chain = this.#oldest;
    if (chain === undefined || !chain.completed) return undefined;
    this.#oldest = chain.next;
    chain.next = undefined;
    if (this.#oldest === undefined) this.#newest = undefined;
    return chain;
  }
}
