// Randomness of tests that can be had again: a seed is printed, and HOLDFAST_SEED repeats the run.

/** Uniform in [0, 1). */
export type Random = () => number;

/** Mulberry32. */
export function seeded(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** That of HOLDFAST_SEED, or a new one. */
export function chosenSeed(): number {
  return numberFromEnvironment('HOLDFAST_SEED', Math.floor(Math.random() * 1e9));
}

/** How long a test that repeats itself goes on: HOLDFAST_ROUNDS, or what suits every check. */
export function chosenRounds(usual: number): number {
  return numberFromEnvironment('HOLDFAST_ROUNDS', usual);
}

function numberFromEnvironment(name: string, otherwise: number): number {
  const text = process.env[name] ?? '';
  if (text === '') return otherwise;
  if (!/^\d{1,9}$/.test(text)) throw new Error(`${name}=${text} is not a number`);
  return Number(text);
}
