// The hosts of a lab: who they are, and what each of them runs.

export const SERVICE_ADDRESS = '10.77.0.100';
export const OPERATOR_ADDRESS = '10.77.0.1';
export const CONTROLLER_PORT = 7400;
export const ZONE = 'shop.example';

export interface Machine {
  readonly name: string;
  readonly address: string;
  /** Units that process 1 starts when the host boots, in this order. What a plan protects is not among them: the agent starts that. */
  readonly boot: readonly string[];
  /** It has an agent, and is enrolled under its name. */
  readonly agent: boolean;
}

const protectedHost = (name: string, address: string, boot: readonly string[] = []): Machine => {
  return { name, address, boot: [...boot, 'agent'], agent: true };
};

export const MACHINES: readonly Machine[] = [
  { name: 'controller', address: '10.77.0.2', boot: ['catalog', 'controller'], agent: false },
  protectedHost('web-1', '10.77.0.11'),
  protectedHost('web-2', '10.77.0.12'),
  protectedHost('mon-1', '10.77.0.21', ['named']),
  protectedHost('api-1', '10.77.0.22'),
  protectedHost('db-1', '10.77.0.23'),
  { name: 'client', address: '10.77.0.50', boot: [], agent: false },
];

export function machine(name: string): Machine {
  const found = MACHINES.find((known) => known.name === name);
  if (found !== undefined) return found;
  throw new Error(`the lab has no ${name}: it has ${MACHINES.map((known) => known.name).join(', ')}`);
}

/** A host keeps its hardware address when it boots again, as a real one does. */
export function hardwareAddress({ address }: Machine): string {
  const bytes = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
  return ['02', '00', ...bytes].join(':');
}
