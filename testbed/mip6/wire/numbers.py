"""Numbers that Mobile IPv6 puts on the wire, each with the RFC and section that assigns it."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

MOBILITY: Final = 135  # IPv6 Next Header of a Mobility Header: RFC 6275 section 6.1.1
ICMPV6: Final = 58  # IPv6 Next Header of ICMPv6: RFC 4443 section 1
NO_NEXT_HEADER: Final = 59  # the only Payload Proto that a Mobility Header may carry: RFC 6275 section 9.2
LIFETIME_UNIT: Final = 4  # seconds: RFC 6275 section 6.1.7
HMAC_SHA1_SPI: Final = 3  # the SPI that makes an MN-AAA authenticator an HMAC-SHA1: RFC 4285 sections 5.2 and 8
TIMESTAMP_WINDOW: Final = 7.0  # seconds by which clocks may differ: RFC 4285 section 6


class MobilityType(IntEnum):
    """MH Type of a Mobility Header (RFC 6275 section 6.1, RFC 5142 section 4, RFC 5846 section 5)."""

    BINDING_REFRESH_REQUEST = 0
    HOME_TEST_INIT = 1
    CARE_OF_TEST_INIT = 2
    HOME_TEST = 3
    CARE_OF_TEST = 4
    BINDING_UPDATE = 5
    BINDING_ACKNOWLEDGEMENT = 6
    BINDING_ERROR = 7
    HOME_AGENT_SWITCH = 12
    BINDING_REVOCATION = 16


class OptionType(IntEnum):
    """Type of a mobility option (RFC 6275 section 6.2; RFC 4283, 4285, 5026 and 5149 from 8 on)."""

    PAD1 = 0
    PADN = 1
    BINDING_REFRESH_ADVICE = 2
    ALTERNATE_CARE_OF_ADDRESS = 3
    NONCE_INDICES = 4
    BINDING_AUTHORIZATION_DATA = 5
    MOBILE_NODE_IDENTIFIER = 8
    MOBILITY_AUTHENTICATION = 9
    REPLAY_PROTECTION = 10
    DNS_UPDATE = 17
    SERVICE_SELECTION = 20


class IcmpType(IntEnum):
    """ICMPv6 types of this codec (RFC 4443 section 3.4, RFC 6275 sections 6.5 to 6.8)."""

    PARAMETER_PROBLEM = 4
    HOME_AGENT_DISCOVERY_REQUEST = 144
    HOME_AGENT_DISCOVERY_REPLY = 145
    MOBILE_PREFIX_SOLICITATION = 146
    MOBILE_PREFIX_ADVERTISEMENT = 147


class BindingFlags(IntFlag):
    """Flags of a Binding Update, 16 bits; bits without a name are kept (RFC 6275 section 6.1.7)."""

    A = 0x8000  # acknowledge
    H = 0x4000  # home registration
    L = 0x2000  # the home address and the link-local address share their interface identifier
    K = 0x1000  # the key management survives movement
    M = 0x0800  # mobility anchor point: RFC 5380
    R = 0x0400  # mobile router: RFC 3963 section 4.1
    P = 0x0200  # proxy registration: RFC 5213 section 8.1
    F = 0x0100  # force UDP encapsulation: RFC 5555 section 3.1.3
    T = 0x0080  # TLV header: RFC 5845
    B = 0x0040  # bulk binding update: RFC 6602


class AckFlags(IntFlag):
    """Flags of a Binding Acknowledgement, 8 bits; bits without a name are kept (RFC 6275 section 6.1.8)."""

    K = 0x80
    R = 0x40
    P = 0x20
    T = 0x10
    B = 0x08


class RevocationFlags(IntFlag):
    """Flags of a Binding Revocation, 16 bits; bits without a name are kept (RFC 5846 section 5)."""

    P = 0x8000  # proxy binding
    V = 0x4000  # IPv4 home address binding only
    G = 0x2000  # global: every binding that the trigger names


class RouterFlags(IntFlag):
    """Flags of a Mobile Prefix Advertisement, 16 bits; unnamed bits are kept (RFC 6275 section 6.8)."""

    MANAGED = 0x8000
    OTHER = 0x4000


class PrefixFlags(IntFlag):
    """Flags of a Prefix Information option, 8 bits; bits without a name are kept (RFC 6275 section 7.2)."""

    ON_LINK = 0x80
    AUTONOMOUS = 0x40
    ROUTER_ADDRESS = 0x20  # the prefix field holds the whole address of the router


_FIRST_REFUSAL: Final = 128  # RFC 6275 section 6.1.8


class BindingStatus(IntEnum):
    """Status of a Binding Acknowledgement.

    0 to 139 and 174 are RFC 6275 section 6.1.8, 140 to 143 RFC 3963 section 4.2, 144 to 146 RFC 4285 section
    8, 147 to 150 RFC 4866, 151 RFC 5149 section 6, 176 RFC 6618. Other numbers are registered with IANA and
    decode too.
    """

    ACCEPTED = 0
    ACCEPTED_PREFIX_DISCOVERY_NECESSARY = 1
    REASON_UNSPECIFIED = 128
    ADMINISTRATIVELY_PROHIBITED = 129
    INSUFFICIENT_RESOURCES = 130
    HOME_REGISTRATION_NOT_SUPPORTED = 131
    NOT_HOME_SUBNET = 132
    NOT_HOME_AGENT_FOR_THIS_MOBILE_NODE = 133
    DUPLICATE_ADDRESS_DETECTION_FAILED = 134
    SEQUENCE_NUMBER_OUT_OF_WINDOW = 135
    EXPIRED_HOME_NONCE_INDEX = 136
    EXPIRED_CARE_OF_NONCE_INDEX = 137
    EXPIRED_NONCES = 138
    REGISTRATION_TYPE_CHANGE_DISALLOWED = 139
    MOBILE_ROUTER_OPERATION_NOT_PERMITTED = 140
    INVALID_PREFIX = 141
    NOT_AUTHORIZED_FOR_PREFIX = 142
    FORWARDING_SETUP_FAILED = 143
    MIPV6_ID_MISMATCH = 144
    MIPV6_MESG_ID_REQD = 145
    MIPV6_AUTH_FAIL = 146
    PERMANENT_HOME_KEYGEN_TOKEN_UNAVAILABLE = 147
    CGA_AND_SIGNATURE_VERIFICATION_FAILED = 148
    PERMANENT_HOME_KEYGEN_TOKEN_EXISTS = 149
    NON_NULL_HOME_NONCE_INDEX_EXPECTED = 150
    SERVICE_AUTHORIZATION_FAILED = 151
    INVALID_CARE_OF_ADDRESS = 174
    REINIT_SA_WITH_HAC = 176

    @property
    def accepted(self) -> bool:
        """Whether the binding was accepted: any status below 128 (RFC 6275 section 6.1.8)."""
        return self < _FIRST_REFUSAL


class BindingErrorStatus(IntEnum):
    """Status of a Binding Error (RFC 6275 section 6.1.9)."""

    UNKNOWN_BINDING = 1
    UNRECOGNIZED_TYPE = 2


class DnsStatus(IntEnum):
    """Status of a DNS Update option in a Binding Acknowledgement (RFC 5026 section 8.1)."""

    PERFORMED = 0
    REASON_UNSPECIFIED = 128
    ADMINISTRATIVELY_PROHIBITED = 129
    FAILED = 130


class IdentifierSubtype(IntEnum):
    """Kind of identity in a Mobile Node Identifier option (RFC 4283 section 3.1)."""

    NAI = 1


class AuthenticationSubtype(IntEnum):
    """Who shares the key of a Mobility Authentication option with the mobile node (RFC 4285 section 8)."""

    MN_HA = 1
    MN_AAA = 2


class RevocationKind(IntEnum):
    """Binding Revocation Type (RFC 5846 section 5)."""

    INDICATION = 1
    ACKNOWLEDGEMENT = 2


class RevocationTrigger(IntEnum):
    """Why an indication revokes; from 128 on for many bindings at once (RFC 5846 section 5.1)."""

    UNSPECIFIED = 0
    ADMINISTRATIVE_REASON = 1
    INTER_MAG_HANDOVER_SAME_ACCESS_TYPE = 2
    INTER_MAG_HANDOVER_DIFFERENT_ACCESS_TYPE = 3
    INTER_MAG_HANDOVER_UNKNOWN = 4
    USER_INITIATED_SESSION_TERMINATION = 5
    ACCESS_NETWORK_SESSION_TERMINATION = 6
    POSSIBLE_OUT_OF_SYNC_BCE_STATE = 7
    PER_PEER_POLICY = 128
    REVOKING_MOBILITY_NODE_LOCAL_POLICY = 129


class RevocationStatus(IntEnum):
    """How an acknowledgement answers; a refusal from 128 on (RFC 5846 section 5.2)."""

    SUCCESS = 0
    PARTIAL_SUCCESS = 1
    BINDING_DOES_NOT_EXIST = 128
    IPV4_HOME_ADDRESS_OPTION_REQUIRED = 129
    GLOBAL_REVOCATION_NOT_AUTHORIZED = 130
    REVOKED_MOBILE_NODES_IDENTITY_REQUIRED = 131
    REVOCATION_FAILED_MN_IS_ATTACHED = 132
    REVOCATION_TRIGGER_NOT_SUPPORTED = 133
    REVOCATION_FUNCTION_NOT_SUPPORTED = 134
    PROXY_BINDING_REVOCATION_NOT_SUPPORTED = 135
