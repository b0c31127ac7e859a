"""Making nodes. Importing this package first lets Mininet be imported without distutils (see ``distutils_stub``)."""

from testbed.runtime import distutils_stub

distutils_stub.provide()
