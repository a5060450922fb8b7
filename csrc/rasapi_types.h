/* rasapi_types.h: the vendor's types and constants in our own declarations, so that no vendor header is needed to build.
 *
 * SPDX-License-Identifier: MIT
 *
 * Fixed-width fields, the vendor's names, 4-byte packing, 16-bit characters (S5.1). Each structure stands here in its newest
 * layout, except the four that the library always uses in the 0x601 one (RASCONN, RASCONNSTATUS, RASDIALPARAMS and
 * RASDIALEXTENSIONS; only RASDIALPARAMS has a newer one, RASDIALPARAMSW_602). Older layouts are prefixes: RASAPI_UPTO gives
 * their sizes. rasapi_layout.c proves every size and offset of S5.2 to S5.4 when it is compiled.
 *
 * The names of windows.h (DWORD, GUID, LUID ...) are left alone, so it may be included before or after. ras.h may not.
 */
#ifndef RASX_RASAPI_TYPES_H
#define RASX_RASAPI_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "text.h" /* char16_t, also where there is no <uchar.h> */

#if defined(_RAS_H_) || defined(_INC_RAS)
#error "ras.h declares the same names in the layouts of one header version; include only one of the two"
#endif

/* stdcall on 32-bit x86 Windows; everywhere else there is one native convention (S0.1). */
#if defined(_WIN32) && (defined(_M_IX86) || defined(__i386__))
#define RASAPI_CALL __stdcall
#else
#define RASAPI_CALL
#endif

/* Opaque; NULL is never valid; not a kernel handle (S0.1). */
typedef void *HRASCONN;

/* --- Limits, in characters without the NUL unless said otherwise (S0.3) ------------------------------------------------- */

#define RAS_MaxEntryName      256
#define RAS_MaxDeviceType     16
#define RAS_MaxDeviceName     128
#define RAS_MaxPhoneNumber    128
#define RAS_MaxCallbackNumber 128
#define RAS_MaxUserName       256 /* UNLEN */
#define RAS_MaxPassword       256 /* PWLEN */
#define RAS_MaxDomain         15  /* DNLEN */
#define RAS_MaxAreaCode       10
#define RAS_MaxPadType        32
#define RAS_MaxX25Address     200
#define RAS_MaxFacilities     200
#define RAS_MaxUserData       200
#define RAS_MaxIpAddress      15
#define RAS_MaxIpxAddress     21
#define RAS_MaxReplyMessage   1024 /* the array has exactly this many */
#define RAS_MaxDnsSuffix      256  /* the array has exactly this many */
#define RAS_MaxIDSize         256
#define RAS_NetbiosNameLen    16
#define RAS_MaxPath           260  /* MAX_PATH: arrays of this size, NUL included */

/* --- States and notification (S1.4, S2) ------------------------------------------------------------------------------- */

#define RASCS_PAUSED 0x1000
#define RASCS_DONE   0x2000

enum RASCONNSTATE {
    RASCS_OpenPort            = 0,
    RASCS_PortOpened          = 1,
    RASCS_ConnectDevice       = 2,
    RASCS_DeviceConnected     = 3,
    RASCS_AllDevicesConnected = 4,
    RASCS_Authenticate        = 5,
    RASCS_AuthNotify          = 6,
    RASCS_AuthRetry           = 7,
    RASCS_AuthCallback        = 8,
    RASCS_AuthChangePassword  = 9,
    RASCS_AuthProject         = 10,
    RASCS_AuthLinkSpeed       = 11,
    RASCS_AuthAck             = 12,
    RASCS_ReAuthenticate      = 13,
    RASCS_Authenticated       = 14,
    RASCS_PrepareForCallback  = 15,
    RASCS_WaitForModemReset   = 16,
    RASCS_WaitForCallback     = 17,
    RASCS_Projected           = 18,
    RASCS_StartAuthentication = 19,
    RASCS_CallbackComplete    = 20,
    RASCS_LogonNetwork        = 21,
    RASCS_SubEntryConnected   = 22,
    RASCS_SubEntryDisconnected = 23,
    RASCS_ApplySettings       = 24,
    RASCS_Interactive         = RASCS_PAUSED,
    RASCS_RetryAuthentication = RASCS_PAUSED + 1,
    RASCS_CallbackSetByCaller = RASCS_PAUSED + 2,
    RASCS_PasswordExpired     = RASCS_PAUSED + 3,
    RASCS_InvokeEapUI         = RASCS_PAUSED + 4,
    RASCS_Connected           = RASCS_DONE,
    RASCS_Disconnected        = RASCS_DONE + 1
};

enum RASCONNSUBSTATE {
    RASCSS_None         = 0,
    RASCSS_Dormant      = 1,
    RASCSS_Reconnecting = 2,
    RASCSS_Reconnected  = RASCS_DONE
};

#define WM_RASDIALEVENT 0xCCCD         /* the message when registering RASDIALEVENT fails */
#define RASDIALEVENT    "RasDialEvent" /* for RegisterWindowMessageA */

#define RASAPI_NOTIFIER_FUNC   0u
#define RASAPI_NOTIFIER_FUNC1  1u
#define RASAPI_NOTIFIER_FUNC2  2u
#define RASAPI_NOTIFIER_WINDOW 0xFFFFFFFFu

/* --- Bits and values (S0.4) ----------------------------------------------------------------------------------------------- */

#define RDEOPT_UsePrefixSuffix            0x00000001u
#define RDEOPT_PausedStates               0x00000002u
#define RDEOPT_IgnoreModemSpeaker         0x00000004u
#define RDEOPT_SetModemSpeaker            0x00000008u
#define RDEOPT_IgnoreSoftwareCompression  0x00000010u
#define RDEOPT_SetSoftwareCompression     0x00000020u
#define RDEOPT_DisableConnectedUI         0x00000040u
#define RDEOPT_DisableReconnectUI         0x00000080u
#define RDEOPT_DisableReconnect           0x00000100u
#define RDEOPT_NoUser                     0x00000200u
#define RDEOPT_PauseOnScript              0x00000400u
#define RDEOPT_Router                     0x00000800u
#define RDEOPT_CustomDial                 0x00001000u
#define RDEOPT_UseCustomScripting         0x00002000u
#define RDEOPT_InvokeAutoTriggerCredentialUI 0x00004000u
#define RDEOPT_EapInfoCryptInCapable      0x00008000u

#define RASCF_AllUsers    1u
#define RASCF_GlobalCreds 2u
#define RASCF_OwnerKnown  4u
#define RASCF_OwnerMatch  8u

#define REN_User     0u
#define REN_AllUsers 1u

#define RASCN_Connection        0x01u
#define RASCN_Disconnection     0x02u
#define RASCN_BandwidthAdded    0x04u
#define RASCN_BandwidthRemoved  0x08u
#define RASCN_Dormant           0x10u
#define RASCN_ReConnection      0x20u
#define RASCN_EPDGPacketArrival 0x40u

#define RASCM_UserName           0x01u
#define RASCM_Password           0x02u
#define RASCM_Domain             0x04u
#define RASCM_DefaultCreds       0x08u
#define RASCM_PreSharedKey       0x10u
#define RASCM_ServerPreSharedKey 0x20u
#define RASCM_DDMPreSharedKey    0x40u

#define RASET_Phone     1u
#define RASET_Vpn       2u
#define RASET_Direct    3u
#define RASET_Internet  4u
#define RASET_Broadband 5u

#define RASFP_Ppp  1u
#define RASFP_Slip 2u
#define RASFP_Ras  4u

#define RASNP_NetBEUI 1u
#define RASNP_Ipx     2u
#define RASNP_Ip      4u
#define RASNP_Ipv6    8u

#define RASEDM_DialAll      1u
#define RASEDM_DialAsNeeded 2u

#define RASIDS_Disabled       0xFFFFFFFFu
#define RASIDS_UseGlobalValue 0u

#define VS_Default      0u
#define VS_PptpOnly     1u
#define VS_PptpFirst    2u
#define VS_L2tpOnly     3u
#define VS_L2tpFirst    4u
#define VS_SstpOnly     5u
#define VS_SstpFirst    6u
#define VS_Ikev2Only    7u
#define VS_Ikev2First   8u
#define VS_GREOnly      9u
#define VS_PptpSstp     12u
#define VS_L2tpSstp     13u
#define VS_Ikev2Sstp    14u
#define VS_ProtocolList 15u

#define RASP_Amb     0x10000u
#define RASP_Slip    0x20000u
#define RASP_PppNbf  0x803Fu
#define RASP_PppIpx  0x802Bu
#define RASP_PppIp   0x8021u
#define RASP_PppIpv6 0x8057u
#define RASP_PppCcp  0x80FDu
#define RASP_PppLcp  0xC021u

#define RASTUNNELENDPOINT_UNKNOWN 0u
#define RASTUNNELENDPOINT_IPv4    1u
#define RASTUNNELENDPOINT_IPv6    2u

#define RASAPIVERSION_500 1u
#define RASAPIVERSION_501 2u
#define RASAPIVERSION_600 3u
#define RASAPIVERSION_601 4u

/* Device types, case as the phone book writes them. RASAPI_WIDE(RASDT_Vpn) is the 16-bit text. */
#define RASDT_Modem      "modem"
#define RASDT_Isdn       "isdn"
#define RASDT_X25        "x25"
#define RASDT_Vpn        "vpn"
#define RASDT_Pad        "pad"
#define RASDT_Generic    "GENERIC"
#define RASDT_Serial     "SERIAL"
#define RASDT_FrameRelay "FRAMERELAY"
#define RASDT_Atm        "ATM"
#define RASDT_Sonet      "SONET"
#define RASDT_SW56       "SW56"
#define RASDT_Irda       "IRDA"
#define RASDT_Parallel   "PARALLEL"
#define RASDT_PPPoE      "PPPoE"

#define RASAPI_WIDE_(text) u##text
#define RASAPI_WIDE(text)  RASAPI_WIDE_(text)

/* --- Structures ------------------------------------------------------------------------------------------------------------ */

/* Outside the packing (S5.1); 20 bytes either way. */
typedef struct RASNAPSTATE {
    uint32_t dwSize;
    uint32_t dwFlags;
    int32_t  isolationState;
    uint32_t probationTime[2]; /* FILETIME: low, high */
} RASNAPSTATE;

#pragma pack(push, 4)

typedef struct RAS_GUID {
    uint32_t Data1;
    uint16_t Data2;
    uint16_t Data3;
    uint8_t  Data4[8];
} RAS_GUID;

typedef struct RAS_LUID {
    uint32_t LowPart;
    int32_t  HighPart;
} RAS_LUID;

typedef struct RASIPADDR { /* a.b.c.d in reading order */
    uint8_t a, b, c, d;
} RASIPADDR;

typedef union RASIPV6ADDR {
    uint8_t  Byte[16]; /* network order */
    uint16_t Word[8];  /* gives the vendor's 2-byte alignment */
} RASIPV6ADDR;

typedef struct RASTUNNELENDPOINT {
    uint32_t dwType; /* RASTUNNELENDPOINT_ */
    union {
        RASIPADDR   ipv4;
        RASIPV6ADDR ipv6;
    } address;
} RASTUNNELENDPOINT;

typedef struct RASEAPINFO {
    uint32_t dwSizeofEapInfo;
    uint8_t *pbEapInfo;
} RASEAPINFO;

typedef struct RASDEVSPECIFICINFO {
    uint32_t dwSize;
    uint8_t *pbDevSpecificInfo;
} RASDEVSPECIFICINFO;

typedef struct RASDIALEXTENSIONS {
    uint32_t           dwSize;
    uint32_t           dwfOptions; /* RDEOPT_ */
    void              *hwndParent;
    uintptr_t          reserved;
    uintptr_t          reserved1;  /* 0x500 */
    RASEAPINFO         RasEapInfo;
    uint32_t           fSkipPppAuth; /* 0x601 */
    RASDEVSPECIFICINFO RasDevSpecificInfo;
} RASDIALEXTENSIONS;

typedef struct RAS_STATS {
    uint32_t dwSize;
    uint32_t dwBytesXmited;
    uint32_t dwBytesRcved;
    uint32_t dwFramesXmited;
    uint32_t dwFramesRcved;
    uint32_t dwCrcErr;
    uint32_t dwTimeoutErr;
    uint32_t dwAlignmentErr;
    uint32_t dwHardwareOverrunErr;
    uint32_t dwFramingErr;
    uint32_t dwBufferOverrunErr;
    uint32_t dwCompressionRatioIn;
    uint32_t dwCompressionRatioOut;
    uint32_t dwBps;
    uint32_t dwConnectDuration; /* milliseconds; wraps */
} RAS_STATS;

typedef struct RASPPPIPV6 {
    uint32_t dwSize;
    uint32_t dwError;
    uint8_t  bLocalInterfaceIdentifier[8];
    uint8_t  bPeerInterfaceIdentifier[8];
    uint8_t  bLocalCompressionProtocol[2];
    uint8_t  bPeerCompressionProtocol[2];
} RASPPPIPV6;

typedef struct RASPPPCCP {
    uint32_t dwSize;
    uint32_t dwError;
    uint32_t dwCompressionAlgorithm;
    uint32_t dwOptions;
    uint32_t dwServerCompressionAlgorithm;
    uint32_t dwServerOptions;
} RASPPPCCP;

typedef struct RASPPP_PROJECTION_INFO {
    uint32_t  dwIPv4NegotiationError;
    RASIPADDR ipv4Address;
    RASIPADDR ipv4ServerAddress;
    uint32_t  dwIPv4Options;
    uint32_t  dwIPv4ServerOptions;
    uint32_t  dwIPv6NegotiationError;
    uint8_t   bInterfaceIdentifier[8];
    uint8_t   bServerInterfaceIdentifier[8];
    uint32_t  fBundled;
    uint32_t  fMultilink;
    uint32_t  dwAuthenticationProtocol;
    uint32_t  dwAuthenticationData;
    uint32_t  dwServerAuthenticationProtocol;
    uint32_t  dwServerAuthenticationData;
    uint32_t  dwEapTypeId;
    uint32_t  dwServerEapTypeId;
    uint32_t  dwLcpOptions;
    uint32_t  dwLcpServerOptions;
    uint32_t  dwCcpError;
    uint32_t  dwCcpCompressionAlgorithm;
    uint32_t  dwCcpServerCompressionAlgorithm;
    uint32_t  dwCcpOptions;
    uint32_t  dwCcpServerOptions;
} RASPPP_PROJECTION_INFO;

typedef struct RASIKEV2_PROJECTION_INFO {
    uint32_t     dwIPv4NegotiationError;
    RASIPADDR    ipv4Address;
    RASIPADDR    ipv4ServerAddress;
    uint32_t     dwIPv6NegotiationError;
    RASIPV6ADDR  ipv6Address;
    RASIPV6ADDR  ipv6ServerAddress;
    uint32_t     dwPrefixLength;
    uint32_t     dwAuthenticationProtocol;
    uint32_t     dwEapTypeId;
    uint32_t     dwFlags;
    uint32_t     dwEncryptionMethod;
    uint32_t     numIPv4ServerAddresses;
    RASIPADDR   *ipv4ServerAddresses;
    uint32_t     numIPv6ServerAddresses;
    RASIPV6ADDR *ipv6ServerAddresses;
} RASIKEV2_PROJECTION_INFO;

typedef struct RAS_PROJECTION_INFO {
    uint32_t version; /* RASAPIVERSION_ */
    uint32_t type;    /* 1 PPP, 2 IKEv2 */
    union {
        RASPPP_PROJECTION_INFO   ppp;
        RASIKEV2_PROJECTION_INFO ikev2;
    } info;
} RAS_PROJECTION_INFO;

typedef struct RASUPDATECONN {
    uint32_t          version; /* RASAPIVERSION_ */
    uint32_t          dwSize;
    uint32_t          dwFlags;
    uint32_t          dwIfIndex;
    RASTUNNELENDPOINT localEndPoint;
    RASTUNNELENDPOINT remoteEndPoint;
} RASUPDATECONN;

typedef struct RASCTRYINFO {
    uint32_t dwSize;
    uint32_t dwCountryID;
    uint32_t dwNextCountryID;
    uint32_t dwCountryCode;
    uint32_t dwCountryNameOffset;
} RASCTRYINFO;

typedef struct RASADPARAMS {
    uint32_t dwSize;
    void    *hwndOwner;
    uint32_t dwFlags;
    int32_t  xDlg;
    int32_t  yDlg;
} RASADPARAMS;

typedef struct RASCOMMSETTINGS {
    uint32_t dwSize;
    uint8_t  bParity;
    uint8_t  bStop;
    uint8_t  bByteSize;
    uint8_t  bAlign;
} RASCOMMSETTINGS;

typedef struct RASDIALDLG {
    uint32_t  dwSize;
    void     *hwndOwner;
    uint32_t  dwFlags;
    int32_t   xDlg;
    int32_t   yDlg;
    uint32_t  dwSubEntry;
    uint32_t  dwError;
    uintptr_t reserved;
    uintptr_t reserved2;
} RASDIALDLG;

typedef struct RASPBDLG {
    uint32_t  dwSize;
    void     *hwndOwner;
    uint32_t  dwFlags;
    int32_t   xDlg;
    int32_t   yDlg;
    uintptr_t dwCallbackId;
    void     *pCallback;
    uint32_t  dwError;
    uintptr_t reserved;
    uintptr_t reserved2;
} RASPBDLG;

#define RASAPI_PASTE_(a, b) a##b
#define RASAPI_PASTE(a, b)  RASAPI_PASTE_(a, b)

#define RASAPI_CHAR            char
#define RASAPI_AW(name)        RASAPI_PASTE(name, A)
#define RASAPI_AW2(name, tail) RASAPI_PASTE(name##A, tail)
#include "rasapi_structs.inc"
#undef RASAPI_CHAR
#undef RASAPI_AW
#undef RASAPI_AW2

#define RASAPI_CHAR            char16_t
#define RASAPI_AW(name)        RASAPI_PASTE(name, W)
#define RASAPI_AW2(name, tail) RASAPI_PASTE(name##W, tail)
#include "rasapi_structs.inc"
#undef RASAPI_CHAR
#undef RASAPI_AW
#undef RASAPI_AW2

#pragma pack(pop)

/* --- Sizes of the versions ------------------------------------------------------------------------------------------------ */

/* The size of the version that ends before `newer`: fields are only ever appended, and alignment is 4 (S5.3). */
#define RASAPI_UPTO(type, newer) ((uint32_t)((offsetof(type, newer) + 3u) & ~(size_t)3u))
#define RASAPI_SIZEOF(type)      ((uint32_t)sizeof(type))

/* Every legal dwSize of a structure for this pointer width, oldest first, as a list of uint32_t for an initialiser:
 *     static const uint32_t sizes[] = { RASCONN_SIZES(RASCONNW) };                                                     */
#define RASCONN_SIZES(type)                                                                                                   \
    RASAPI_UPTO(type, szPhonebook), RASAPI_UPTO(type, guidEntry), RASAPI_UPTO(type, dwFlags),                                 \
        RASAPI_UPTO(type, guidCorrelationId), RASAPI_SIZEOF(type)
#define RASCONNSTATUS_SIZES(type)                                                                                             \
    RASAPI_UPTO(type, szPhoneNumber), RASAPI_UPTO(type, localEndPoint), RASAPI_SIZEOF(type)
#define RASDIALPARAMS_SIZES(type, type_602)                                                                                   \
    RASAPI_UPTO(type, dwSubEntry), RASAPI_UPTO(type, dwIfIndex), RASAPI_SIZEOF(type), RASAPI_SIZEOF(type_602)
#define RASENTRYNAME_SIZES(type) RASAPI_UPTO(type, dwFlags), RASAPI_SIZEOF(type)
#define RASENTRY_SIZES(type)                                                                                                  \
    RASAPI_UPTO(type, dwSubEntries), RASAPI_UPTO(type, dwType), RASAPI_UPTO(type, dwfOptions2),                               \
        RASAPI_UPTO(type, ipv6addrDns), RASAPI_UPTO(type, ipv6addr), RASAPI_UPTO(type, szIDi), RASAPI_SIZEOF(type)
#define RASPPPIP_SIZES(type)  RASAPI_UPTO(type, dwOptions), RASAPI_SIZEOF(type)
#define RASPPPLCP_SIZES(type) RASAPI_UPTO(type, dwError), RASAPI_SIZEOF(type)

#define RASCONNA_SIZES          RASCONN_SIZES(RASCONNA)
#define RASCONNW_SIZES          RASCONN_SIZES(RASCONNW)
#define RASCONNSTATUSA_SIZES    RASCONNSTATUS_SIZES(RASCONNSTATUSA)
#define RASCONNSTATUSW_SIZES    RASCONNSTATUS_SIZES(RASCONNSTATUSW)
#define RASDIALPARAMSA_SIZES    RASDIALPARAMS_SIZES(RASDIALPARAMSA, RASDIALPARAMSA_602)
#define RASDIALPARAMSW_SIZES    RASDIALPARAMS_SIZES(RASDIALPARAMSW, RASDIALPARAMSW_602)
#define RASDIALEXTENSIONS_SIZES                                                                                               \
    RASAPI_UPTO(RASDIALEXTENSIONS, reserved1), RASAPI_UPTO(RASDIALEXTENSIONS, fSkipPppAuth), RASAPI_SIZEOF(RASDIALEXTENSIONS)
#define RASENTRYNAMEA_SIZES     RASENTRYNAME_SIZES(RASENTRYNAMEA)
#define RASENTRYNAMEW_SIZES     RASENTRYNAME_SIZES(RASENTRYNAMEW)
#define RASDEVINFOA_SIZES       RASAPI_SIZEOF(RASDEVINFOA)
#define RASDEVINFOW_SIZES       RASAPI_SIZEOF(RASDEVINFOW)
#define RASCREDENTIALSA_SIZES   RASAPI_SIZEOF(RASCREDENTIALSA)
#define RASCREDENTIALSW_SIZES   RASAPI_SIZEOF(RASCREDENTIALSW)
#define RASENTRYA_SIZES         RASENTRY_SIZES(RASENTRYA)
#define RASENTRYW_SIZES         RASENTRY_SIZES(RASENTRYW)
#define RASSUBENTRYA_SIZES      RASAPI_SIZEOF(RASSUBENTRYA)
#define RASSUBENTRYW_SIZES      RASAPI_SIZEOF(RASSUBENTRYW)
#define RASPPPIPA_SIZES         RASPPPIP_SIZES(RASPPPIPA)
#define RASPPPIPW_SIZES         RASPPPIP_SIZES(RASPPPIPW)
#define RASPPPLCPA_SIZES        RASPPPLCP_SIZES(RASPPPLCPA)
#define RASPPPLCPW_SIZES        RASPPPLCP_SIZES(RASPPPLCPW)

/* RASENTRYW by version, for the step down on 632 (S8.63); the two character kinds by their suffix. */
#define RASENTRYW_SIZE_400 RASAPI_UPTO(RASENTRYW, dwSubEntries)
#define RASENTRYW_SIZE_401 RASAPI_UPTO(RASENTRYW, dwType)
#define RASENTRYW_SIZE_500 RASAPI_UPTO(RASENTRYW, dwfOptions2)
#define RASENTRYW_SIZE_501 RASAPI_UPTO(RASENTRYW, ipv6addrDns)
#define RASENTRYW_SIZE_600 RASAPI_UPTO(RASENTRYW, ipv6addr)
#define RASENTRYW_SIZE_601 RASAPI_UPTO(RASENTRYW, szIDi)
#define RASENTRYW_SIZE_A00 RASAPI_SIZEOF(RASENTRYW)

#endif
