"""KServe's inference protocol over gRPC: conversion without I/O, the methods, and the server around them."""
