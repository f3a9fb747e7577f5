// Reading nodes: the port, and the two ways to drive one piece of reading logic.
//
// The agent's scan thread reads synchronously (asynchronous calls cost it six times as much); the controller and a
// restore read over a network. So lookup, walk, diff and the like are written once, as generators that ask for nodes,
// and a driver here answers from a synchronous or an asynchronous store.

/** A node as it comes out of its envelope: opened, authenticated, decompressed. */
export interface NodeBytes {
  /** 32-byte ids, concatenated. */
  readonly references: Buffer;
  readonly payload: Buffer;
}

/** A node that is wanted. `parent` and `index` say which reference of which node led here (what a grant needs). */
export interface WantedNode {
  /** 32 bytes. */
  readonly id: Buffer;
  /** 16 bytes; empty for a root whose proof the reader doesn't know. */
  readonly proof: Buffer;
  /** undefined for a root. */
  readonly parent: Buffer | undefined;
  readonly index: number;
}

export interface SyncNodeStore {
  /** Throws NOT_FOUND or DAMAGED. */
  load(wanted: WantedNode): NodeBytes;
}

export interface AsyncNodeStore {
  load(wanted: WantedNode): Promise<NodeBytes>;
  /** A hint: these nodes will be loaded soon, in this order. A store over a network fetches them together. */
  expect?(wanted: readonly WantedNode[]): void;
}

/** Asks the driver for one node; the driver answers with its bytes. `next` are those that will follow. */
export interface Want {
  readonly want: WantedNode;
  readonly next: readonly WantedNode[];
}

/** Reading logic with one result: yields wants, returns the result. */
export type Reading<T> = Generator<Want, T, NodeBytes>;

/** Reading logic with many results: yields wants (answered with bytes) and batches of items (answered with nothing). */
export type ReadingMany<T> = Generator<Want | readonly T[], void, NodeBytes | undefined>;

export function readSync<T>(store: SyncNodeStore, reading: Reading<T>): T {
  let step = reading.next();
  while (step.done !== true) step = reading.next(store.load(step.value.want));
  return step.value;
}

export async function readAsync<T>(store: AsyncNodeStore, reading: Reading<T>): Promise<T> {
  let step = reading.next();
  while (step.done !== true) {
    if (step.value.next.length > 0) store.expect?.(step.value.next);
    step = reading.next(await store.load(step.value.want));
  }
  return step.value;
}

/** Item by item, each node loaded when it is needed. */
export function* streamSync<T>(store: SyncNodeStore, reading: ReadingMany<T>): Generator<T, void, undefined> {
  let answer: NodeBytes | undefined;
  for (;;) {
    const step = reading.next(answer);
    answer = undefined;
    if (step.done === true) return;
    if (isWant(step.value)) answer = store.load(step.value.want);
    else yield* step.value;
  }
}

export async function* streamAsync<T>(
  store: AsyncNodeStore,
  reading: ReadingMany<T>,
): AsyncGenerator<T, void, undefined> {
  let answer: NodeBytes | undefined;
  for (;;) {
    const step = reading.next(answer);
    answer = undefined;
    if (step.done === true) return;
    if (isWant(step.value)) {
      if (step.value.next.length > 0) store.expect?.(step.value.next);
      answer = await store.load(step.value.want);
    } else {
      for (const item of step.value) yield item;
    }
  }
}

function isWant(step: Want | readonly unknown[]): step is Want {
  return !Array.isArray(step);
}

/** Asks for one node, inside reading logic. */
export function* wanting(want: WantedNode, next: readonly WantedNode[] = []): Reading<NodeBytes> {
  return yield { want, next };
}

/** Lets logic with one result run inside logic with many. */
export function* asMany<T>(reading: Reading<T>): Generator<Want, T, NodeBytes | undefined> {
  let step = reading.next();
  while (step.done !== true) {
    const answer = yield step.value;
    if (answer === undefined) throw new RangeError('a driver answered a want with nothing');
    step = reading.next(answer);
  }
  return step.value;
}
