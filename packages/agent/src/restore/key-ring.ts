// A domain's keys in every epoch that comes up: an envelope says which one sealed it.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { parseHeader, type ObjectKind } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys, type DomainKeys } from '@holdfast/shared/format/keys';
import { open, type OpenedObject } from '@holdfast/shared/format/seal';
import type { AgentIdentity } from '../link/identity.ts';

export class KeyRing {
  readonly #secret: Uint8Array;
  readonly #domainId: string;
  readonly #byEpoch = new Map<number, DomainKeys>();

  constructor(domainSecret: Uint8Array, domainId: string) {
    this.#secret = domainSecret;
    this.#domainId = domainId;
  }

  forEpoch(epoch: number): DomainKeys {
    let keys = this.#byEpoch.get(epoch);
    if (keys === undefined) {
      keys = deriveDomainKeys(this.#secret, this.#domainId, epoch);
      // An envelope may claim any of 65,536 epochs before it is checked: remember few.
      if (this.#byEpoch.size >= EPOCHS_KEPT) this.#byEpoch.clear();
      this.#byEpoch.set(epoch, keys);
    }
    return keys;
  }

  /** As `open` of format/seal, with the keys of the envelope's own epoch. */
  open(envelope: Uint8Array, expected: { readonly id: Uint8Array; readonly kind: ObjectKind }): OpenedObject {
    return open(this.forEpoch(parseHeader(envelope).keyEpoch), envelope, expected);
  }
}

/** Throws FAILED_PRECONDITION on a host that does not have its domain's secret. */
export function requireDomainSecret({ domainSecret }: Pick<AgentIdentity, 'domainSecret'>): Uint8Array {
  if (domainSecret !== undefined) return domainSecret;
  throw new HoldfastError('FAILED_PRECONDITION', "this host does not have its domain's secret", {
    hint: 'The domain is sealed. Give the host the secret of its other hosts: holdfast-agent secret set FILE',
  });
}

const EPOCHS_KEPT = 8;
