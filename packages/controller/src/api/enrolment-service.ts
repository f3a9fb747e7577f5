// The Enrolment service: wire ⇄ fleet/enrolment.ts.
//
// Hazard: guessing at tokens. A secret has 256 bits, so guessing is hopeless; the limit here keeps it cheap for us as well.

import type { EnrolmentServiceImplementation, EnrolRequest } from '@holdfast/shared/rpc/gen/holdfast/v1/enrolment';
import { HoldfastError } from '@holdfast/shared/base/errors';

import { enrol, renew, type EnrolmentDeps } from '../fleet/enrolment.ts';
import type { LoginLimiter } from '../fleet/login-limiter.ts';
import { requireHost, type CallerContext } from './caller.ts';

export function makeEnrolmentService(
  deps: EnrolmentDeps & { readonly limiter: LoginLimiter; readonly nowMs: () => number },
): EnrolmentServiceImplementation<CallerContext> {
  return {
    async enrol(request, context) {
      const key = [`enrol ${hostOf(context.peerAddress)}`];
      deps.limiter.check(key, deps.nowMs());
      try {
        const enrolled = await enrol(deps, fromWire(request, context.peerAddress));
        return {
          hostId: enrolled.hostId,
          hostName: enrolled.hostName,
          domainId: enrolled.domainId,
          domainName: enrolled.domainName,
          certificateChain: [enrolled.certificate.der],
          caCertificate: deps.authority.certificateDer,
          domainSecret: enrolled.domainSecret ?? Buffer.alloc(0),
          keyEpoch: enrolled.keyEpoch,
        };
      } catch (error) {
        if (error instanceof HoldfastError && error.code === 'NOT_ALLOWED') deps.limiter.failed(key, deps.nowMs());
        throw error;
      }
    },
    async renew(request, context) {
      const certificate = await renew(deps, requireHost(context), request.signingRequest);
      return { certificateChain: [certificate.der], caCertificate: deps.authority.certificateDer };
    },
  };
}

function fromWire(request: EnrolRequest, peerAddress: string): Parameters<typeof enrol>[1] {
  return {
    secret: request.tokenSecret,
    signingRequest: request.signingRequest,
    recordKey: request.recordKey,
    facts: {
      hostname: request.facts?.hostname ?? '',
      machineId: request.facts?.machineId ?? '',
      agentVersion: request.facts?.agentVersion ?? '',
      os: request.facts?.os ?? '',
    },
    address: hostOf(peerAddress),
  };
}

/** The address without its port. */
export function hostOf(peerAddress: string): string {
  return peerAddress.slice(0, Math.max(0, peerAddress.lastIndexOf(':')));
}
